"""A file of JSON lines that grows while something long runs, each line on disk at once."""

import json
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, ClassVar, Self

from mptq_export.support.errors import MptqError


class AppendedLines:
    """The end of such a file; a context that closes it.

    Attributes:
        refusal: what is said where a line cannot be written, with `{name}` of the file and the `{reason}`.
    """

    refusal: ClassVar[str]

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def append(self, entry: dict[str, Any]) -> None:
        """Write a line.

        Raises:
            MptqError: it cannot be written, as on a full disk.
        """
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise MptqError(self.refusal.format(name=self._file.name, reason=error.strerror)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of what could not be written, which was said already
            self._file.close()
