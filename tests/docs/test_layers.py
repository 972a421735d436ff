"""The order of the rooms: a room imports only rooms of the layers below its own, so that no imports go in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "mptq_export"

#: Lowest first; rooms of one layer do not import each other. `api` and `__main__` are modules, all others folders.
LAYERS = (
    ("support",),
    ("recipe",),
    ("targets",),
    ("capture", "data", "profile"),
    ("load", "runtime"),
    ("detect",),
    ("transform",),
    ("calibrate",),
    ("quantize",),
    ("emit",),
    ("evaluate",),
    ("verify",),
    ("bench",),
    ("allocate",),
    ("kit", "report"),
    ("dossier",),
    ("export",),
    ("api", "cli"),
    ("__main__",),
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}

#: The package root hands on what `api` and `support` hold: it stands above all rooms, and none imports it.
ROOT = "mptq_export"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and module of everything that a file imports, within functions and for types alone too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            names = [f".{name.name}" for name in node.names] if node.module == ROOT else [""]
            yield from ((node.lineno, f"{node.module}{name}") for name in names)


def upward(room: str, source: str) -> list[str]:
    """What a file of a room imports of other rooms that are not below its own, with the line."""
    found = []
    for line, module in imports(source):
        package, *inside = module.split(".")
        if package == ROOT and (not inside or inside[0] != room):
            other = inside[0] if inside else ROOT
            if LAYER.get(other, len(LAYERS)) >= LAYER[room]:  # the root, and what it defines, are above all
                found.append(f"line {line}: {room} imports {module}")
    return found


def files(room: str) -> list[Path]:
    """All modules of a room."""
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def test_every_room_has_its_layer():
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    modules = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
    assert sorted(LAYER) == sorted(rooms + modules)
    assert len(LAYER) == sum(map(len, LAYERS))


@pytest.mark.parametrize("room", LAYER)
def test_a_room_imports_only_what_is_below(room: str):
    found = {
        str(path.relative_to(REPO)): above
        for path in files(room)
        if (above := upward(room, path.read_text(encoding="utf-8")))
    }
    assert not found


def test_the_order_is_in_the_document():
    order = " < ".join(", ".join(rooms) for rooms in LAYERS)
    text = (REPO / "docs" / "design.md").read_text(encoding="utf-8")
    assert f"    {order}\n" in text.replace("\n    < ", " < ")


def test_an_import_that_goes_up_is_seen():
    within = "def late():\n    from mptq_export.emit.value import Value\n"
    for source, seen in (
        ("from mptq_export.capture.graph import Graph\nfrom mptq_export.quantize.method import BEST\n", 0),
        ("from mptq_export.emit.value import Value\n", 1),
        ("import mptq_export.cli.export\n", 1),
        ("from mptq_export import __version__\nimport mptq_export\n", 2),
        ("from mptq_export import allocate, support\n", 1),
        (within, 1),
    ):
        assert len(upward("quantize", source)) == seen
    assert upward("load", "from mptq_export.runtime.session import open_session\n")  # beside it, not below
