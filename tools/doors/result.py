"""What became of a kind, kept on disk as it comes."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Status = Literal["exports", "refused", "read wrongly", "differs", "not refused", "wrongly refused", "failed"]

#: Statuses of kinds that did what they have to.
GOOD: tuple[Status, ...] = ("exports", "refused")


@dataclass(frozen=True)
class Result:
    """One row.

    Attributes:
        kind: its name.
        group: the file of `kinds/` that it stands in.
        versions: of the libraries that wrote it, by name; the first wrote the most.
        status: `exports` and `refused` are as they have to be; `read wrongly` is the worst: it loads as another model.
        detail: the line of a refusal, or what is wrong.
        outputs: names of what the file gives.
        float_difference: largest difference of the loaded model's outputs to the original's, by the largest output
            where that is above 1; None where nothing was loaded.
        file_error: relative error of the integer file's outputs, the largest of all.
        values: compared between onnxruntime and `kernels_ref`, at batches of one and three.
        differing: of them, those that differ.
        seconds: wall clock.
    """

    kind: str
    group: str
    versions: dict[str, str]
    status: Status
    detail: str = ""
    outputs: list[str] = field(default_factory=list)
    float_difference: float | None = None
    file_error: float | None = None
    values: int = 0
    differing: int = 0
    seconds: float = 0.0


def read_results(path: Path) -> dict[str, Result]:
    """The last row of every kind of earlier runs; a cut last line is left out."""
    return {row.kind: row for row in _lines(path)}


def _lines(path: Path) -> Iterator[Result]:
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield Result(**json.loads(line))
        except ValueError:
            continue


def append(path: Path, result: Result) -> None:
    """Keep one row more."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")
