"""Options that several commands have, with one spelling and one help."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mptq_export.cli.common import parse_json_object

Function = TypeVar("Function", bound=Callable[..., Any])


def arch_options(of: str = "") -> Callable[[Function], Function]:
    """``--arch`` and ``--model-kwargs`` of a checkpoint."""
    arch = click.option("--arch", help=f"timm architecture{of}, where the checkpoint does not name it.")
    kwargs = "--model-kwargs"
    rest = click.option(kwargs, metavar="JSON", callback=parse_json_object, help="Arguments for timm.create_model.")
    return lambda function: arch(rest(function))


def class_map_option(help_text: str) -> Callable[[Function], Function]:
    """``--class-map``: a file that names the logits."""
    return click.option("--class-map", type=click.Path(path_type=Path), help=help_text)


def allow_skipped_option(images: str) -> Callable[[Function], Function]:
    """``--allow-skipped``: unreadable images do not end the command."""
    return click.option(
        "--allow-skipped", is_flag=True, help=f"Go on where more than a tenth of {images} cannot be read."
    )
