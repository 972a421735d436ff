"""What every console script shares: one way to end, examples in the help."""

import json
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from mptq_export.cli.isolated import isolate, why
from mptq_export.cli.verbosity import verbosity_options
from mptq_export.cli.version import version_option
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable
from mptq_export.support.json_files import Json
from mptq_export.support.json_files import write_json as write_json_file

EXIT_FAILED = 1
"""The work was done and its result is negative: a mismatch, a file that was changed."""
EXIT_BAD_INPUT = 2
"""The input or the command line is wrong."""
EXIT_UNPROVED = 3
"""The work was done and nothing differs, but more than these inputs is not proved."""
EXIT_INTERRUPTED = 130

Function = TypeVar("Function", bound=Callable[..., Any])


class MptqCommand(click.Command):
    """A click command that ends in a status and, on a problem of the user's, in one line.

    The function returns its exit status (None is 0). `MptqError` and a wrong command line become ``error: ...``
    on stderr and status 2, without a traceback. Python warnings and log messages below errors are silenced while
    the command runs, but with ``-v``. Use it as ``@click.command(cls=MptqCommand, examples=[...])``.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        isolated: bool = False,
        groups: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        """`examples` are command lines that `--help` shows as they are; all else goes to click.

        `isolated` is for commands that give a stranger's file to onnxruntime: they run in a child process. `groups`
        are names of options, by the heading under which `--help` shows them; all others come last.
        """
        super().__init__(*args, **kwargs)
        self.groups = groups or {}
        self.params += [*verbosity_options(), version_option()]
        self.examples = examples
        self.isolated = isolated

    def invoke(self, ctx: click.Context) -> Any:
        """Run the function, unless its report would replace what it reads."""
        _spare_inputs(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, where there are some; all under one otherwise."""
        if not self.groups:
            super().format_options(ctx, formatter)
            return
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        records = {str(each.name): record for each in options if (record := each.get_help_record(ctx)) is not None}
        named = {name for names in self.groups.values() for name in names}
        others = [name for name in records if name not in named]
        for heading, names in {**self.groups, "Others": others}.items():
            with formatter.section(heading):
                formatter.write_dl([records[name] for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line, not re-wrapped."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {example}\n")
        super().format_epilog(ctx, formatter)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command and leave the process with its status."""
        if self.isolated and not args and "args" not in kwargs:  # from the command line, not from another program
            ended = isolate()
            if ended is not None:
                if ended == -signal.SIGTERM:  # somebody's wish, not the file's fault
                    click.echo("interrupted", err=True)
                    ended = EXIT_INTERRUPTED
                elif ended < 0:
                    given = " ".join(sys.argv[1:])
                    ended = fail(f"{self.name} {given} came to an end ({why(-ended)}); get the files again")
                sys.exit(ended)
        kwargs["standalone_mode"] = False
        silenced = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                status = super().main(*args, **kwargs)
        except MptqError as error:
            status = fail(str(error))
        except MemoryError as error:
            status = fail(f"there is not enough memory ({error}); use a smaller --batch or another machine")
        except OSError as error:  # temporary files: a full disk, mostly
            where = _where(error.filename)
            status = fail(f"{where}: {error.strerror or error}; free space, or set TMPDIR to another folder")
        except ModuleNotFoundError as error:
            status = _missing(error)
        except click.UsageError as error:
            name = error.ctx.command_path if error.ctx else self.name
            status = fail(f"{error.format_message()} See `{name} --help`.")
        except click.ClickException as error:
            status = fail(error.format_message())
        except (click.Abort, KeyboardInterrupt) as stopped:
            status = EXIT_INTERRUPTED
            click.echo(" ".join(["interrupted", *map(str, stopped.args)]), err=True)
        finally:
            logging.disable(silenced)
        sys.exit(status or 0)


def _missing(error: ModuleNotFoundError) -> int:
    """The status where a package is not installed.

    Raises:
        ModuleNotFoundError: it is a module of ours: a defect.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "mptq_export", "kernels_ref"):
        raise error
    return fail(
        f"{package} is not installed in this environment, and this needs it; pip install mptq-export brings all "
        "(mptq-device has what mptq-verify, mptq-eval and mptq-bench need without a checkpoint)"
    )


def _where(path: str | bytes | int | None) -> str:
    """A path for people; of a temporary file only its folder, for its name says nothing."""
    folder = tempfile.gettempdir()
    if not isinstance(path, str) or Path(folder) in Path(path).parents:
        return f"a temporary file in {folder}"
    return path


def fail(message: str) -> int:
    """Print ``error: message`` on one line of stderr and return the status for bad input."""
    click.echo("error: " + " ".join(message.split()), err=True)
    return EXIT_BAD_INPUT


def parse_json_object(_context: click.Context, parameter: click.Parameter, text: str | None) -> dict[str, Any]:
    """Callback of options that take a JSON object (``--model-kwargs``).

    Raises:
        MptqError: the text is not a JSON object.
    """
    name = parameter.opts[0]
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise MptqError(f"{name} is not JSON ({error}): {text}") from error
    if not isinstance(values, dict):
        raise MptqError(f'{name} must be a JSON object such as {{"num_classes": 10}}, not {text}')
    return values


def _spare_inputs(context: click.Context) -> None:
    """Refuse a ``--json`` that is one of the command's inputs, or lies among them and is no report.

    Raises:
        MptqError: it is.
    """
    target = context.params.get("json_path")
    if target is None or not target.is_file():
        return
    for value in context.params.values():
        given = Path(value) if isinstance(value, str | Path) else None
        if given is None or value is target or not given.exists():
            continue
        inside = given.is_dir() and target.suffix != ".json" and target.resolve().is_relative_to(given.resolve())
        if inside or given.samefile(target):
            raise MptqError(f"--json {target} would replace what is read ({given}); choose another file")


def _checked(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        check_writable(value, force=True)
    return value


def json_option(function: Function) -> Function:
    """Add ``--json FILE`` as the argument `json_path`; refused before any work if it cannot be written."""
    return click.option(
        "--json",
        "json_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_checked,
        help="Also write the whole report as JSON.",
    )(function)


def write_json(path: Path | None, report: Json) -> None:
    """Write the report, if a file was asked for.

    Raises:
        MptqError: the file cannot be written.
    """
    if path is not None:
        write_json_file(path, report)
