"""What the documents name exists, and every room of the package is on the map."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "mptq_export"
#: All but the notebook, which is as of its commits, and the list of changes.
PAGES = [*sorted((REPO / "docs").glob("*.md")), REPO / "CONTRIBUTING.md", REPO / "README.md"]
#: Folders that hold what documents name.
ROOTS = ("mptq_export", "kernels_ref", "tools", "tests", "examples", "docs")
_FILE = re.compile(r"[\w*./-]+\.(?:py|mjs|cpp|c|sh)(?!\w)")
_FOLDER = re.compile(r"[a-z_]+(?:/[a-z_]+)*/")
_MODULE = re.compile(r"mptq_export(?:\.[a-z_]+)+")
_INSIDE = re.compile(r"^Inside .*`([a-z_/]+)/`:$")
#: Files of a user's, of another library, or of a kit, that the documents name.
OTHERS = {"train.py", "run.py", "run.mjs", "run.cpp", "check.mjs"}


@dataclass(frozen=True)
class Named:
    """A file or folder that a line names.

    Attributes:
        where: page and line.
        name: as it stands there.
        folders: where it may lie; empty in running text, where a name may leave the folders before it out.
    """

    where: str
    name: str
    folders: tuple[Path, ...]


def named(page: Path, text: str) -> Iterator[Named]:
    """Everything in backticks that looks like a file or folder, and files in the blocks of code."""
    inside: Path | None = None
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{page.name}:{number}"
        if line.startswith("#"):
            inside = None
        elif found := _INSIDE.match(line):
            inside = PACKAGE / found[1]
            yield Named(where, f"{found[1]}/", (PACKAGE,))
        elif line.startswith("|"):
            yield from _in_row(where, line, inside)
        elif line.startswith("    "):
            yield from (Named(where, name, ()) for name in _FILE.findall(line))
        else:
            yield from (Named(where, code, ()) for code in _codes(line))


def _in_row(where: str, line: str, inside: Path | None) -> Iterator[Named]:
    first, *cells = line.strip("|").split("|")
    room = re.search(r"`((?:mptq_export|kernels_ref|tools)(?:/[a-z_]+)*)`", first)
    base = [REPO, PACKAGE, *([inside] if inside else []), *([REPO / room[1]] if room else [])]
    before: list[Path] = []  # where the last name with a folder lay: those after it may leave the folder out
    for cell in (first, *cells):
        for code in _codes(cell):
            yield Named(where, code, (*base, *before))
            if "/" in code:
                before = [folder / (code if code.endswith("/") else Path(code).parent) for folder in base]


def _codes(text: str) -> Iterator[str]:
    for code in re.findall(r"`([^`]+)`", text):
        if (_FILE.fullmatch(code) or _FOLDER.fullmatch(code)) and code not in OTHERS:
            yield code


def exists(entry: Named) -> bool:
    """Whether a file or folder of that name is where the line says."""
    pattern = entry.name.rstrip("/")
    if any(any(folder.glob(pattern)) for folder in entry.folders if folder.is_dir()):
        return True
    anywhere = not entry.folders
    return anywhere and (
        any(REPO.glob(pattern)) or any(any((REPO / root).rglob(pattern)) for root in ROOTS if (REPO / root).is_dir())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_folders_that_a_page_names_exist(page: Path):
    missing = [
        f"{each.where}: {each.name}" for each in named(page, page.read_text(encoding="utf-8")) if not exists(each)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_exist(page: Path):
    for name in _MODULE.findall(page.read_text(encoding="utf-8")):
        path = REPO / Path(*name.split("."))
        of_module = path.parent.with_suffix(".py").is_file() or (path.parent / "__init__.py").is_file()
        found = path.is_dir() or path.with_suffix(".py").is_file()
        assert found or (of_module and _attribute(path.parent, path.name)), f"{page.name}: {name}"


def _attribute(module: Path, name: str) -> bool:
    """Whether a module's source has the name."""
    source = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
    return re.search(rf"\b{name}\b", source.read_text(encoding="utf-8")) is not None


def test_every_room_is_on_the_map():
    rooms = {f"mptq_export/{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    text = (REPO / "docs" / "design.md").read_text(encoding="utf-8").partition("## The rooms")[2].partition("\n## ")[0]
    on_the_map = re.findall(r"^\| `([a-z_/]+)` \|", text, re.MULTILINE)
    assert sorted(room for room in on_the_map if room.startswith("mptq_export")) == sorted(rooms)
    assert {"kernels_ref", *(f"tools/{path.parent.name}" for path in (REPO / "tools").glob("*/__init__.py"))} <= set(
        on_the_map
    )


def test_what_is_gone_is_missed():
    page = Path("page.md")
    inside = (
        "## Title\nInside the room, `verify/`:\n\n| file | idea |\n|---|---|\n| `run.py`, `gone.py` | `smooth.py` |\n"
    )
    row = "| `mptq_export/emit` | `exact/`, `exact/proof.py`, `tables.py`, `nowhere/` |\n"
    for text, gone in (
        (inside, ["gone.py", "smooth.py"]),
        (row, ["nowhere/"]),
        ("Text with `exact/proof.py` and `exact/gone.py`.\n", ["exact/gone.py"]),
        ("    export/run.py call\n        gone.py call\n", ["gone.py"]),
    ):
        assert [each.name for each in named(page, text) if not exists(each)] == gone
