"""What the tools' command lines share: how they read options, and how they end."""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable

EXIT_BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """An argument parser that shows a module's docstring as it is, and says what is wrong in one line."""

    def __init__(self, module: str, description: str | None) -> None:
        """The parser of ``python -m tools.MODULE``; `description` is its docstring."""
        super().__init__(
            prog=f"python -m tools.{module}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Leave with the status of bad input."""
        self.exit(EXIT_BAD_INPUT, f"error: {message}; see `{self.prog} --help`\n")

    def add_json(self) -> None:
        """Add ``--json FILE`` as `json_path`."""
        self.add_argument("--json", dest="json_path", type=_writable, metavar="FILE", help="Also write it as JSON.")

    def run(self, function: Callable[..., int | None], arguments: Sequence[str] | None) -> int:
        """Call a function with the options as its keyword arguments.

        Args:
            function: gives an exit status; None is 0.
            arguments: of the command line; those of the process when left out.

        Returns:
            The exit status; that of bad input where the function raises `MptqError`, after one line on stderr.
        """
        silenced = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return function(**vars(self.parse_intermixed_args(arguments))) or 0
        except MptqError as error:
            print("error: " + " ".join(str(error).split()), file=sys.stderr)
            return EXIT_BAD_INPUT
        finally:
            logging.disable(silenced)


class Repeated(argparse.Action):
    """An option that may be given several times: a tuple of its values, in place of its default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Take one value more."""
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (values,) if given is self.default else (*given, values))


def existing(text: str) -> Path:
    """A path that is there."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _writable(text: str) -> Path:
    path = Path(text)
    check_writable(path, force=True)
    return path
