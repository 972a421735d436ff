"""mptq-report: what it writes, and what it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mptq_export.cli.report import main


def report(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_one_export(folder: Path):
    page = folder / "u.report.html"
    before = page.read_text()
    page.unlink()
    for named in ("u.onnx", "u.recipe.json"):
        result = report(folder / named, "--force")
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{page}\n", "")
        assert page.read_text() == before


def test_two_exports_side_by_side(folder: Path):
    result = report(folder / "s.5.onnx", folder / "u.recipe.json")
    assert result.exit_code == 0, (result.output, result.exception)
    page = (folder / "s.5-vs-u.report.html").read_text()
    for words in ("s.5.onnx", "u.onnx", "The search of widths", "blocks.1.mlp.fc2", "4/5", "mixed 5: mean"):
        assert words in page
    assert page.count("<svg") == 2
    assert "differs" in page.partition("</style>")[2]


def test_two_files_of_one_search_share_a_plot(folder: Path):
    assert report(folder / "s.5.onnx", folder / "s.4.5.onnx", "-o", folder / "both.html").exit_code == 0
    page = (folder / "both.html").read_text()
    assert "The search of widths" in page
    assert page.count("<svg") == 2


def test_an_export_beside_itself_does_not_differ(folder: Path):
    assert report(folder / "u.onnx", folder / "u.onnx", "-o", folder / "same.html").exit_code == 0
    assert '<tr class="differs">' not in (folder / "same.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("EXPORT", "--help")),
        (("u.onnx", "u.onnx", "u.onnx"), ("two to compare",)),
        (("u.onnx",), ("u.report.html exists already", "--force")),
        (("none.onnx", "-o", "x.html"), ("none.onnx does not exist",)),
        (("none.recipe.json", "-o", "x.html"), ("none.recipe.json does not exist",)),
        (("m.pt", "-o", "x.html"), ("neither an .onnx file nor a .recipe.json",)),
        (("f.onnx", "-o", "x.html"), ("f.recipe.json does not exist",)),
        (("calib", "-o", "x.html"), ("neither an .onnx file",)),
        (("u.onnx", "-o", "u.onnx/x.html"), ("cannot write", "u.onnx is a file")),
        (("u.onnx", "-o", "calib"), ("it is a folder",)),
    ],
)
def test_what_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: tuple[str, ...]
):
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    result = report(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("u.onnx", b"no graph", "u.onnx is not"),
        ("u.recipe.json", b"{}", "recipe version"),
        ("u.recipe.json", b"\xff\xfe", "not a recipe of this program"),
        ("u.recipe.safetensors", b"", "not a recipe of this program"),
    ],
)
def test_damaged_files_are_refused(folder: Path, name: str, content: bytes, words: str):
    (folder / name).write_bytes(content)
    result = report(folder / "u.onnx", "--force")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and words in result.stderr


def test_files_of_two_exports_are_no_export(folder: Path):
    (folder / "u.onnx").write_bytes((folder / "s.5.onnx").read_bytes())
    result = report(folder / "u.onnx", "--force")
    assert result.exit_code == 2
    assert "are not of one export" in result.stderr
