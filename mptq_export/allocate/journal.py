"""Every measurement of a search, on disk as it happens: an interrupted search replays them and goes on.

The search is deterministic, so that the same measurements lead to the same steps.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mptq_export.allocate.units import Widths
from mptq_export.errors import MptqError
from mptq_export.files import write_atomic


class Journal:
    """Measurements in the order in which they are asked for.

    Attributes:
        count: measurements so far, replayed ones included.
    """

    def __init__(self, file: IO[str], kept: dict[str, float]) -> None:
        self.count = 0
        self._file, self._kept = file, kept

    @staticmethod
    def open(path: Path, identity: str, *, resume: bool) -> "Journal":
        """Start a journal, or go on with one.

        Args:
            path: the file, one JSON value a line.
            identity: of the search.
            resume: keep what the file holds.

        Raises:
            MptqError: it cannot be written, or is of another search.
        """
        try:
            kept: dict[str, float] = {}
            if resume:
                lines = path.read_text(encoding="utf-8").splitlines()
                if not lines or json.loads(lines[0]) != {"search": identity}:
                    raise MptqError(
                        f"{path} is the journal of another search (model, images or options differ); start again "
                        "without --resume"
                    )
                for line in lines[1:]:
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        break  # the line that an interruption cut
                    kept[entry["widths"]] = entry["divergence"]
            entries = [{"search": identity}, *({"widths": key, "divergence": value} for key, value in kept.items())]
            text = "".join(json.dumps(entry) + "\n" for entry in entries)

            def write(temporary: Path) -> None:
                temporary.write_text(text, encoding="utf-8")

            write_atomic(path, write)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise MptqError(f"cannot use the journal {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise MptqError(f"{path} is not the journal of a search; start again without --resume") from error
        return Journal(file, kept)

    def value(self, widths: Widths, measure: Callable[[], float]) -> float:
        """A measurement, from the journal or now."""
        self.count += 1
        key = " ".join(f"{weights}{activations}" for weights, activations in widths.values())
        if key not in self._kept:
            self._kept[key] = measure()
            self._file.write(json.dumps({"widths": key, "divergence": self._kept[key]}) + "\n")
            self._file.flush()
        return self._kept[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
