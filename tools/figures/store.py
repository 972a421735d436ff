"""Figures on disk: a line a row while they are measured, a document a table when they are kept."""

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.figures.context import Context
from tools.figures.models import REPO
from tools.figures.table import Document, Row

DOCUMENTS = REPO / "docs" / "figures"
_DIGITS = 6
"""Significant digits that are kept: more than any page shows."""


class Measured:
    """The rows that were measured, a JSON line each as they come.

    Several workers may add; rows of other commits stay in the file and are not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def add(self, table: str, key: str, context: Context, figures: dict[str, Any]) -> None:
        """Keep one row."""
        line = json.dumps({"table": table, "key": key, **asdict(context), "figures": figures})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def of(self, commit: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The lines of a commit by table and key; the last of each."""
        return {(line["table"], line["key"]): line for line in self._lines() if line["commit"] == commit}

    def last_commit(self) -> str:
        """The commit of the row that was measured last."""
        lines = self._lines()
        if not lines:
            raise SystemExit(f"{self._path} holds no rows; measure some first")
        commit: str = lines[-1]["commit"]
        return commit

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]


def document(table: str, wanted: Sequence[Row], lines: dict[tuple[str, str], dict[str, Any]]) -> Document | None:
    """What was measured of a table, in its own order; None where nothing was.

    Args:
        table: the name of it.
        wanted: all of its rows.
        lines: of one commit, as `Measured.of` gives them.

    Raises:
        SystemExit: rows were measured with different versions.
    """
    found = [lines[table, row.key] for row in wanted if (table, row.key) in lines]
    if not found:
        return None
    versions = found[0]["versions"]
    if any(line["versions"] != versions for line in found):
        raise SystemExit(f"rows of {table} were measured with different versions; measure them again")
    machines = list(dict.fromkeys(line["machine"] for line in found))
    rows = tuple({**_rounded(line["figures"]), "machine": machines.index(line["machine"])} for line in found)
    return Document(table, found[0]["commit"], tuple(machines), versions, rows)


def write_document(kept: Document, folder: Path = DOCUMENTS) -> Path:
    """Write a table's figures, a line a row."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kept.table}.json"
    head = json.dumps({key: value for key, value in asdict(kept).items() if key != "rows"}, indent=1)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in kept.rows)
    path.write_text(f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n', encoding="utf-8")
    return path


def read_documents(folder: Path = DOCUMENTS) -> dict[str, Document]:
    """All tables that are kept, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        data |= {"machines": tuple(data["machines"]), "rows": tuple(data["rows"])}
        found[path.stem] = Document(**data)
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
