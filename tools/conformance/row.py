"""What became of one model, and how it is kept: a JSON line each."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

EXACT, REFUSED, FAILED, TOO_LARGE = "exact", "refused", "failed", "too large"
STATUSES = (EXACT, REFUSED, FAILED, TOO_LARGE)


@dataclass(frozen=True)
class Row:
    """What became of one model.

    Attributes:
        arch: its name in its library.
        family: what it stands under in the table: a module of timm, or of another library.
        status: `exact`, `refused`, `failed` or `too large`.
        detail: the reason, or how many values were compared.
        parameters: of the model.
        image: side of the image in pixels.
        seconds: wall-clock time.
        library: whose it is.
        reduced: what was made smaller than the library has it, for people.
    """

    arch: str
    family: str
    status: str
    detail: str
    parameters: int
    image: int
    seconds: float
    library: str = "timm"
    reduced: str = ""


def read_rows(path: Path) -> list[Row]:
    """The last row of every model of earlier runs; a cut last line is left out."""
    rows: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = Row(**json.loads(line))
        except ValueError:
            continue
        rows[row.library, row.arch] = row
    return list(rows.values())


def line(row: Row) -> str:
    """A row as it is kept: what is as usual is left out."""
    kept = asdict(row)
    usual = {"library": "timm", "reduced": ""}
    return json.dumps({name: value for name, value in kept.items() if usual.get(name) != value}) + "\n"
