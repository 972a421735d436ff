"""Our file beside other forms of the same model: what is measured, not how fast."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import pixels

from tools.bench import onnxruntime_forms, openvino_forms

from .command import run

CLASSES = 7


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """An image of each class."""
    for number, image in enumerate(pixels("vit", CLASSES).numpy()):
        path = tmp_path / "classes" / f"class{number}"
        path.mkdir(parents=True)
        Image.fromarray(image).save(path / "a.png")
    return tmp_path / "classes"


QUICK = ("--count", 4, "--images", 3, "--rounds", 1, "--methods", "paper", "--threads", 1)


def test_forms_in_onnxruntime(checkpoint: Path, classes: Path, tmp_path: Path):
    given = (checkpoint, "--calib", classes, "--val", classes, "--keep", tmp_path / "k", "--targets", "generic")
    result = run(onnxruntime_forms.main, *given, *QUICK, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    rows = {row["form"]: row for row in json.loads((tmp_path / "r.json").read_text())["models"]}
    statics = ["quantize_static, all ops", "quantize_static, matmuls"]
    assert list(rows) == ["ort, paper", "generic, paper", *statics, "float"]
    assert rows["ort, paper"]["timings"][0]["over_base"]["median"] == 1.0
    assert rows["ort, paper"]["matmuls_float"] == 0 and rows["float"]["matmuls_integer"] == 0
    assert rows["float"]["kl"] == 0 and rows["generic, paper"]["kl"] > 0
    for row in rows.values():
        assert 0 <= row["top1"] <= 1 and row["timings"][0]["latency_ms"]["median"] > 0
        assert row["form"] in result.stdout


def test_forms_in_openvino(checkpoint: Path, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("openvino", reason="OpenVINO comes with pip install openvino")
    keep = tmp_path / "k"
    given = (checkpoint, "--calib", classes, "--val", classes, "--keep", keep, "--precisions", "f32")
    if importlib.util.find_spec("nncf") is None:  # the float file takes its place
        refused = run(openvino_forms.main, *given, *QUICK)
        assert refused.exit_code == 2 and "No module named 'nncf'" in refused.stderr
        monkeypatch.setattr(openvino_forms, "nncf_file", lambda model, python: model.floating)
    result = run(openvino_forms.main, *given, *QUICK, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.stderr
    (table,) = json.loads((tmp_path / "r.json").read_text())["tables"]
    assert [row["form"] for row in table["models"]] == ["float", "NNCF int8", "ours, paper"]
    ours = table["models"][-1]
    assert {kernel["numbers"] for kernel in ours["kernels"] if "Gemm" in kernel["op"]} == {"INT8"}
    assert 0 < ours["kl"] < 0.1 and "floats as f32" in ours["device"]


def test_a_folder_that_cannot_be_made_is_refused(checkpoint: Path, classes: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    given = (checkpoint, "--calib", classes, "--val", classes, "--keep", tmp_path / "file" / "k")
    result = run(onnxruntime_forms.main, *given, *QUICK)
    assert result.exit_code == 2 and "--keep" in result.stderr and result.stderr.count("\n") == 1
