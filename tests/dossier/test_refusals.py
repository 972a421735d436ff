"""What no dossier can be of, or where it cannot be written: one line, and nothing half written."""

import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest
from cli.helpers import files
from click.testing import CliRunner

from mptq_export.cli.export import main as export
from mptq_export.cli.report import main as report
from mptq_export.dossier.kinds import kind_of
from mptq_export.recipe.onnx_contents import RECIPE_KEY
from mptq_export.support.errors import MptqError


def refused(main: object, folder: Path, *arguments: object) -> str:
    """The line of a refusal that leaves all files of a folder as they were."""
    before = files(folder)
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])  # type: ignore[arg-type]
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert files(folder) == before
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_folder_that_holds_something(copied: Path):
    line = refused(report, copied, "--dossier", copied / "late", copied / "m.onnx")
    assert "late is not empty; pass --force to replace the dossier" in line
    line = refused(report, copied, "--dossier", copied / "calib", copied / "m.onnx", "--force")
    assert "holds no dossier; --force replaces dossiers only" in line
    line = refused(report, copied, "--dossier", copied / "m.pt", copied / "m.onnx")
    assert "it is a file; name a folder" in line


def test_force_replaces_a_dossier_and_leaves_what_is_not_its_own(copied: Path):
    (copied / "late" / "notes.txt").write_text("mine")
    (copied / "late" / "dossier.pdf").write_bytes(b"of another run")
    ran = CliRunner().invoke(report, ["--dossier", str(copied / "late"), str(copied / "m.onnx"), "--force"])
    assert ran.exit_code == 0, ran.output
    assert (copied / "late" / "notes.txt").read_text() == "mine"
    pdf = copied / "late" / "dossier.pdf"
    assert not pdf.exists() or pdf.read_bytes().startswith(b"%PDF")


def test_a_recipe_that_is_missing_or_of_another_file(copied: Path, tmp_path: Path):
    shutil.copy(copied / "m.onnx", tmp_path / "alone.onnx")
    line = refused(report, tmp_path, "--dossier", tmp_path / "d", tmp_path / "alone.onnx")
    assert "alone.recipe.json does not exist: it says what was decided" in line
    content = json.loads((copied / "m.recipe.json").read_text())
    content["settings"]["bits"] = "8/8"
    (copied / "m.recipe.json").write_text(json.dumps(content))
    line = refused(report, copied, "--dossier", copied / "d", copied / "m.onnx")
    assert "m.recipe.json are not of one export" in line


def test_a_file_that_was_changed_after_it_was_written(copied: Path):
    model = onnx.load(copied / "m.onnx")
    weight = next(tensor for tensor in model.graph.initializer if "qkv.weight" in tensor.name)
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    onnx.save(model, copied / "m.onnx")
    line = refused(report, copied, "--dossier", copied / "d", copied / "m.onnx")
    assert "m.onnx is not as m.recipe.json says: tensor blocks.0.attn.qkv.weight" in line and "restore" in line


def test_a_recipe_that_names_other_claims_than_the_files(copied: Path):
    """A claim that was edited changes the recipe's hash, which the file names."""
    text = (copied / "m.recipe.json").read_text()
    (copied / "m.recipe.json").write_text(text.replace('"what": "int32 accumulator"', '"what": "another"', 1))
    assert "not of one export" in refused(report, copied, "--dossier", copied / "d", copied / "m.onnx")
    digest = hashlib.sha256((copied / "m.recipe.json").read_bytes()).hexdigest()
    model = onnx.load(copied / "m.onnx")
    next(entry for entry in model.metadata_props if entry.key == RECIPE_KEY).value = digest
    onnx.save(model, copied / "m.onnx")  # both changed: no hash tells, but what was measured is of another file
    ran = CliRunner().invoke(report, ["--dossier", str(copied / "d"), str(copied / "m.onnx")])
    assert ran.exit_code == 0
    missing = json.loads((copied / "d" / "dossier.json").read_text())["not_shown"]
    assert any(sentence.startswith("How many values were compared") for sentence in missing)


def test_a_portable_file(work: Path):
    data = ("--calib", work / "calib", "-o", work / "p.onnx")
    line = refused(export, work, work / "m.pt", *data, "--target", "qnn", "--dossier", work / "d")
    assert "no bits are promised of files for qnn" in line
    made = CliRunner().invoke(export, [str(word) for word in (work / "m.pt", *data, "--target", "qnn")])
    assert made.exit_code == 0, made.output
    line = refused(report, work, "--dossier", work / "d", work / "p.onnx")
    assert "of the portable form for qnn, of which no bits are promised" in line
    again = ("--recipe", work / "p.recipe.json", "-o", work / "r.onnx", "--dossier", work / "d")
    assert "no bits are promised of files for qnn" in refused(export, work, work / "m.pt", *again)


def test_options_that_do_not_go_together(copied: Path):
    onnx_path = copied / "m.onnx"
    assert "is of one EXPORT" in refused(report, copied, "--dossier", copied / "d", onnx_path, onnx_path)
    assert "without -o" in refused(report, copied, "--dossier", copied / "d", onnx_path, "-o", copied / "page.html")
    assert "goes with --dossier" in refused(report, copied, onnx_path, "--images", copied / "calib", "--force")
    data = (copied / "m.pt", "--calib", copied / "calib", "-o", copied / "n.onnx")
    line = refused(export, copied, *data, "--kit", copied / "k", "--dossier", copied / "k")
    assert "would hold" in line and "choose another folder" in line
    line = refused(export, copied, *data, "--dossier", copied / "late")
    assert "late is not empty" in line


def test_images_that_are_none(copied: Path):
    (copied / "empty").mkdir()
    line = refused(report, copied, "--dossier", copied / "d", copied / "m.onnx", "--images", copied / "empty")
    assert "empty" in line


def test_an_op_of_which_nothing_is_written():
    node = onnx.helper.make_node("Softmax", ["x"], ["y"], "soft")
    with pytest.raises(MptqError, match=r"nothing is written of how Softmax rounds \(soft\)"):
        kind_of(node, constant=False)
    assert kind_of(node, constant=True) == "constant"
