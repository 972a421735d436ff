"""The tools of detectors: AP of any mixture of float and quantized networks, rows on disk, time by part."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image
from torch import nn

from tools.bench import detection, detection_ap, detection_latency
from tools.bench.detection_backbone import Maps, QuantizedMaps
from tools.bench.detection_layers import group_of
from tools.bench.detection_options import Loading

MODEL = "tiny_detectors:small_fcos"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with an object each, in COCO's format."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    images, objects = [], []
    for number in (1, 2, 3):
        pixels = generator.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 32})
        box = {"bbox": [4, 4, 16, 16], "area": 256, "iscrowd": 0}
        objects.append({"id": number, "image_id": number, "category_id": 10 * number, **box})
    categories = [{"id": 10 * number, "name": name} for number, name in zip((1, 2, 3), "abc", strict=True)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_a_float_detector_is_judged(data: Path, tmp_path: Path):
    pytest.importorskip("pycocotools", reason="AP is computed by pycocotools")
    report = tmp_path / "ap.json"
    status = detection_ap.main([MODEL, "--img-size", "32", "--data", str(data), "--images", "2", "--json", str(report)])
    found = json.loads(report.read_text())
    assert status == 0
    assert (found["images"], found["mask"]) == (2, None)
    assert 0 <= found["box"]["ap"] <= found["box"]["ap50"] <= 100


def test_pictures_have_the_labels_of_the_scores(data: Path):
    loaded = Loading(MODEL, 32).load()
    pictures = detection_ap.read_pictures(data, loaded, detection_ap.described(loaded), None)
    assert pictures.inputs.shape == (3, 3, 32, 32)
    assert pictures.truth.labels == {10: 0, 20: 1, 30: 2}
    assert [len(objects) for objects in pictures.truth.objects] == [1, 1, 1]


def test_time_is_told_by_part(data: Path):
    loaded = Loading(MODEL, 32).load()
    detector, floats = detection_ap.described(loaded), detection_ap.networks_of_model(loaded)
    pictures = detection_ap.read_pictures(data, loaded, detector, 2)
    both = (detection_latency.Timed(detector, floats), detection_latency.Timed(detector, floats))
    rows = {row["part"]: row for row in detection_latency.compared(*both, pictures, rounds=1)}
    assert list(rows) == ["whole", "network", "glue"]
    for row in rows.values():
        assert 0 < row["ours_ms"]["low"] <= row["ours_ms"]["median"] <= row["ours_ms"]["high"]
    assert rows["network"]["float_ms"]["median"] < rows["whole"]["float_ms"]["median"]


class Listed(nn.Module):
    """A backbone that gives a list, or a dictionary, of one map."""

    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.named = named

    def forward(self, x: torch.Tensor) -> list[torch.Tensor] | dict[str, torch.Tensor]:
        return {"map": x * 2} if self.named else [x * 2]


@pytest.mark.parametrize("named", [False, True])
def test_a_file_takes_the_place_of_a_backbone(named: bool, tmp_path: Path):
    float32 = onnx.TensorProto.FLOAT
    sides = [helper.make_tensor_value_info(name, float32, [None, 1, 2, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "maps", sides[:1], sides[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "maps.onnx")
    backbone, x = Listed(named=named), torch.rand(3, 1, 2, 2)
    found = QuantizedMaps(backbone, tmp_path / "maps.onnx", 1)(x)
    assert type(found) is type(backbone(x))
    assert torch.equal(found["map"] if named else found[0], -x)
    assert torch.equal(Maps(backbone)(x)[0], 2 * x)


def test_rows_that_are_there_are_not_measured_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    box = {"ap": 80.0, "ap50": 90.0, "ap75": 85.0}
    row = {"row": "float", "box": box, "mask": None, "bytes": None, "differing": None, "export_seconds": None}
    (tmp_path / "float.json").write_text(json.dumps({**row, "images": 3}))
    made = {"bytes": 1234, "differing": 0, "export_seconds": 5.0, "box": {**box, "ap": 78.5}}
    (tmp_path / "44.json").write_text(json.dumps({**row, **made, "row": "4/4", "images": 3}))
    options = ["--calib", str(data), "--data", str(data), "--out", str(tmp_path), "--json", str(tmp_path / "all.json")]
    assert detection.main([MODEL, *options, "--row", "4/4", "--row", "float"]) == 0
    report = json.loads((tmp_path / "all.json").read_text())
    assert (report["model"], report["images"], [row["row"] for row in report["rows"]]) == (
        "small_fcos",
        3,
        ["4/4", "float"],
    )
    assert "1.50" in capsys.readouterr().out
    assert not (tmp_path / "logs").exists()


def test_the_backbones_row_needs_its_name(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--calib", str(data), "--data", str(data), "--out", str(tmp_path), "--row", "backbone 4/4"]
    assert detection.main([MODEL, *options]) == 2
    assert "needs --backbone" in capsys.readouterr().err


def test_layers_are_grouped_by_their_names():
    assert group_of("head.classification_head.conv.3_2") == "head.classification_head.conv"
    assert group_of("backbone.pyramid.layer_blocks.0.0") == "backbone.pyramid.layer_blocks"
