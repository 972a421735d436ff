"""Every measurement of a search, on disk as it happens: an interrupted search replays them and goes on.

The search is deterministic, so that the same measurements (of divergences, and of time) lead to the same steps.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.units import Widths
from mptq_export.support.appended_lines import AppendedLines
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_text


class Journal(AppendedLines):
    """Measurements in the order in which they are asked for, and what they are of."""

    refusal: ClassVar[str] = "cannot write the journal {name}: {reason}; free space and go on with --resume"

    def __init__(
        self,
        file: IO[str],
        measured: dict[str, list[float]],
        latency: dict[str, Any] | None,
        stored: dict[str, Any] | None,
    ) -> None:
        super().__init__(file)
        self._measured, self._latency, self._stored = measured, latency, stored

    @staticmethod
    def open(path: Path, identity: str, *, resume: bool) -> "Journal":
        """Start a journal, or go on with one.

        Args:
            path: the file, one JSON value per line.
            identity: of the search.
            resume: keep what the file holds.

        Raises:
            MptqError: it cannot be written, or is of another search.
        """
        try:
            measured: dict[str, list[float]] = {}
            latency: dict[str, Any] | None = None
            stored: dict[str, Any] | None = None
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
                    if "latency" in entry:
                        latency = entry["latency"]
                    elif "stored" in entry:
                        stored = entry["stored"]
                    else:
                        measured[entry["widths"]] = list(entry["divergences"])
            write_journal(path, identity, latency, stored, measured)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise MptqError(f"cannot use the journal {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise MptqError(f"{path} is not the journal of a search; start again without --resume") from error
        return Journal(file, measured, latency, stored)

    @property
    def measured(self) -> dict[str, list[float]]:
        """All divergences, by the text of widths."""
        return dict(self._measured)

    def divergences(self, widths: Widths, measure: Callable[[], list[float]]) -> list[float]:
        """The divergence of every image, from the journal or measured now.

        Args:
            widths: of all layers.
            measure: measures now.
        """
        key = widths_text(widths)
        if key not in self._measured:
            self._measured[key] = measure()
            self.append({"widths": key, "divergences": self._measured[key]})
        return self._measured[key]

    def keep(self, stored: dict[str, Any]) -> None:
        """Keep what the measurements are of, so that an interrupted search can be asked; once."""
        if self._stored is None:
            self._stored = stored
            self.append({"stored": stored})

    def latency(self, measure: Callable[[], LatencyTable]) -> LatencyTable:
        """The latencies, from the journal or measured now: they are never the same twice."""
        if self._latency is None:
            self._latency = measure().to_json()
            self.append({"latency": self._latency})
        return LatencyTable.from_json(self._latency)


def write_journal(
    path: Path,
    identity: str,
    latency: dict[str, Any] | None,
    stored: dict[str, Any] | None,
    measured: Mapping[str, Sequence[float]],
) -> None:
    """Write what a search has measured, so that it can go on.

    Args:
        path: the file.
        identity: of the search.
        latency: what its widths cost in time; None where that is not known.
        stored: what was searched; None where that is not known.
        measured: divergences by the text of widths.
    """
    entries: list[dict[str, Any]] = [{"search": identity}]
    entries += [] if latency is None else [{"latency": latency}]
    entries += [] if stored is None else [{"stored": stored}]
    entries += [{"widths": key, "divergences": list(value)} for key, value in measured.items()]
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))


def widths_text(widths: Widths) -> str:
    """Widths as a journal names them."""
    return " ".join(f"{weights}{activations}" for weights, activations in widths.values())
