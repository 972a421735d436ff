"""How much a command says: -q nothing but errors, -v also how long each stage took and what libraries warn of."""

import logging
import warnings
from typing import Any

import click
from rich.console import Console

_KEY = "mptq_export.says"


def verbosity_options() -> list[click.Parameter]:
    """The two options that every command has; they reach the functions below, not the command."""
    return [
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, is_eager=True, callback=_chosen, help="Only errors."
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_chosen,
            help="Also the time of every stage, and the warnings of libraries.",
        ),
    ]


def is_quiet() -> bool:
    """Whether the running command was asked to say nothing but errors."""
    return _says() == "quiet"


def is_verbose() -> bool:
    """Whether the running command was asked to say more."""
    return _says() == "verbose"


def output(**options: Any) -> Console:
    """The console of a command's results: stdout, or nothing at all."""
    return Console(highlight=False, quiet=is_quiet(), **options)


def _says() -> str:
    context = click.get_current_context(silent=True)
    return "" if context is None else str(context.meta.get(_KEY, ""))


def _chosen(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if not given:
        return
    name = str(parameter.name)
    if context.meta.setdefault(_KEY, name) != name:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    if name == "verbose":  # `MptqCommand.main` silences both, and puts everything back
        logging.disable(logging.NOTSET)
        warnings.simplefilter("default")
