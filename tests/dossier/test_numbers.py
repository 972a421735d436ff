"""Every number of a dossier is found again in its evidence, and its pages show these numbers and no others."""

import ast
import hashlib
import html
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mptq_export.cli.eval import main as evaluate
from mptq_export.cli.report import main as report
from mptq_export.dossier import document
from mptq_export.dossier.pdf import laid_out

from .conftest import command, run, succeed
from .traced import is_number, leaves, untraced, words


def test_every_number_of_a_small_model(made: Path):
    assert untraced(made / "early") == []
    assert untraced(made / "late") == []


def test_every_number_of_the_digits(digits: Path):
    assert untraced(digits) == []
    content = json.loads((digits / "dossier.json").read_text())
    paths = {re.sub(r"\.\d+", ".*", ".".join(map(str, path))) for path, value in leaves(content) if is_number(value)}
    unused = [
        source["part"] for source in content["sources"] if not any(path.startswith(source["part"]) for path in paths)
    ]
    assert unused == []
    assert content["criterion"]["checked"]["differing"] == 0
    assert len(content["operators"]) > 300 and all(each["tests"] for each in content["tests"])
    assert len(content["trace"]["tensors"]) == 56 and all(each["reaches"] for each in content["trace"]["tensors"])
    assert all(each["sqnr_db"] > 25 for each in content["trace"]["layers"])


@pytest.mark.slow
def test_every_number_of_deit_tiny(assets: Path, tmp_path: Path):
    model, images = assets / "deit_tiny_imagenette.pt", assets / "imagenette"
    outputs = ("-o", tmp_path / "deit.onnx", "--dossier", tmp_path / "dossier")
    result = run(model, "--calib", images / "calib", "--count", 16, *outputs)
    assert result.exit_code == 0, (result.output, result.exception)
    data = ("--data", images / "val", "--float", model, "--limit", 64, "--json", tmp_path / "deit.eval.json")
    succeed(evaluate, tmp_path / "deit.onnx", *data)
    succeed(report, "--dossier", tmp_path / "dossier", "--force", tmp_path / "deit.onnx")
    assert untraced(tmp_path / "dossier") == []


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (("bounds", 3, "value"), lambda value: value + 1),
        (("operators", 7, "outputs", 0, "low"), lambda value: 1e9),
        (("operators", 2, "inputs", 1, "high"), lambda value: value * 2),
        (("trace", "quantizers", 1, "scale"), lambda value: value * 1.001),
        (("trace", "layers", 0, "sha256"), lambda value: value[::-1]),
        (("golden", "tensors", 1, "crc32", 0), lambda value: value ^ 1),
        (("accuracy", 0, "low"), lambda value: value - 0.01),
        (("identity", "parts"), lambda value: value - 1),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_number_that_was_changed_by_hand_is_found(made: Path, tmp_path: Path, part: tuple[Any, ...], change: Any):
    folder = Path(shutil.copytree(made / "late", tmp_path / "d"))
    content = json.loads((folder / "dossier.json").read_text())
    *way, last = part
    inner = content
    for step in way:
        inner = inner[step]
    inner[last] = change(inner[last])
    (folder / "dossier.json").write_text(json.dumps(content))
    assert untraced(folder)


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    body = page.partition("<body>")[2].partition("<footer>")[0]
    return html.unescape(re.sub(r"<[^>]+>", " ", body))


def test_the_page_shows_these_numbers_and_no_others(made: Path):
    content = json.loads((made / "late" / "dossier.json").read_text())
    shown = words(text_of((made / "late" / "dossier.html").read_text()))
    known: set[str] = set()
    for path, value in leaves(content):
        if is_number(value):
            text = document.number(value)
            if path[-1] not in ("format",) and "crc32" not in path:
                assert words(text) <= shown or words(str(value)) <= shown, (path, value)
            known |= words(text) | words(str(value)) | words(f"{value:08x}" if isinstance(value, int) else "")
        elif isinstance(value, str):
            known |= words(value)
    for each in content["operators"]:
        for operand in (*each["inputs"], *each["outputs"]):
            known |= words("x".join(map(str, operand["shape"] or ())))
    for shape in (*(each["shape"] for part in ("layers", "tensors") for each in content["trace"][part]),):
        known |= words("x".join(map(str, shape)))
    known |= {word for each in content["golden"]["tensors"] for word in words("x".join(map(str, each["shape"])))}
    layout = ast.walk(ast.parse(inspect.getsource(document)))
    known |= {word for node in layout if isinstance(node, ast.Constant) for word in words(str(node.value))}
    known |= {str(place) for place in range(1, len(document.sections_of.__code__.co_consts) + 20)}
    known |= words(str(len(content["bounds"]))) | words(str(len(content["operators"])))
    known |= words(document.number(len(content["trace"]["tensors"])))
    assert shown - known == set()


@pytest.mark.skipif(
    importlib.util.find_spec("reportlab") is None or shutil.which("pdftotext") is None,
    reason="needs reportlab and pdftotext",
)
def test_the_pdf_says_what_the_page_says(made: Path):
    pdf = made / "late" / "dossier.pdf"
    read = subprocess.run(["pdftotext", "-raw", pdf, "-"], capture_output=True, text=True, check=True).stdout
    printed = re.sub(r"\s", "", re.sub(r"Dossier of .*\n?page \d+\n?\f", "", read).replace("\f", ""))
    page = (made / "late" / "dossier.html").read_text()
    cells = re.findall(r"<t[dh]>(.*?)</t[dh]>|<p>(.*?)</p>|<li>(?!<a)(.*?)</li>", page)
    texts = [html.unescape(re.sub(r"<[^>]+>", "", "".join(cell))) for cell in cells]
    whole = [text for text in texts if re.sub(r"\s", "", text) in printed]
    missing = [text for text in texts if not all(word in printed for word in text.split())]
    assert len(whole) > 0.99 * len(texts) > 1000  # a row that a page ends in is in two pieces
    assert missing == []


@pytest.mark.skipif(importlib.util.find_spec("reportlab") is None, reason="needs reportlab")
def test_the_pdf_takes_any_text_and_cells_longer_than_a_page(made: Path):
    content = json.loads((made / "late" / "dossier.json").read_text())
    names = ", ".join(f"<b>{number} & \u732b" for number in range(3000))
    table = document.Table(("a", "b"), (("x", names), ("y", "n" * 400)), (1, 4))
    sections = (document.Section("<i>", (table, ("one", "two"), content["criterion"]["statement"])),)
    assert laid_out("\u732b", "author", sections, "foot").startswith(b"%PDF")


def test_the_folder_stands_alone(made: Path):
    folder = made / "late"
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present == {*sums, "SHA256SUMS"}
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    assert (folder / "kit" / "model.onnx").read_bytes() == (made / "m.onnx").read_bytes()
    page = (folder / "dossier.html").read_text()
    assert "<script" not in page and "default-src 'none'" in page


def test_the_same_files_give_the_same_bytes(made: Path, tmp_path: Path):
    succeed(report, "--dossier", tmp_path / "again", made / "m.onnx", "--images", made / "calib")
    for path in (made / "late").rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(made / "late")).read_bytes() == path.read_bytes(), path
    early, late = (json.loads((made / name / "dossier.json").read_text()) for name in ("early", "late"))
    for part in ("operators", "bounds", "trace", "identity", "criterion", "kinds", "tests"):
        assert early[part] == late[part]


def test_without_reportlab_all_but_the_pdf_is_written_and_said(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mptq_export.dossier.write.has_reportlab", lambda: False)
    result = command(report, "--dossier", tmp_path / "d", made / "m.onnx")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: the dossier has no PDF, which needs reportlab: pip install")
    assert (tmp_path / "d" / "dossier.html").is_file() and not (tmp_path / "d" / "dossier.pdf").exists()


def test_a_replay_follows_the_tensors_too(made: Path, tmp_path: Path):
    recipe = made / "m.recipe.json"
    result = run(made / "m.pt", "--recipe", recipe, "-o", tmp_path / "r.onnx", "--dossier", tmp_path / "d")
    assert result.exit_code == 0, (result.output, result.exception)
    first, again = (json.loads((path / "dossier.json").read_text()) for path in (made / "late", tmp_path / "d"))
    assert again["trace"] == first["trace"]
    assert again["identity"]["calibration"] == first["identity"]["calibration"]
    assert again["golden"]["origin"].startswith("synthetic")
    assert untraced(tmp_path / "d") == []
