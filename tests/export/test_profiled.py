"""A detector of two stages, spelled out: each of its files obeys the profile, and they find what the plain ones do."""

from pathlib import Path

import numpy as np
import onnx
from api.test_detectors import calibrated, exported, part, pictures  # noqa: F401 - fixtures
from PIL import Image
from tiny_detectors import mask_rcnn

from mptq_export import export, load, open_detector
from mptq_export.api import ExportResult
from mptq_export.profile.check import check_profile
from mptq_export.runtime.graph_input import declared_input


def test_a_mask_r_cnn_spelled_out(exported: ExportResult, pictures: Path, tmp_path: Path):  # noqa: F811 - fixtures
    out, recipe = tmp_path / "m.onnx", exported.onnx.with_suffix(".recipe.json")
    done = export(load(mask_rcnn()), out, recipe=recipe, profile="sonnx", batch=3)
    for each in (done, *done.heads):
        model = onnx.load(each.onnx)
        assert check_profile(model).passed
        assert declared_input(model).shape[0] == 3
        assert each.profiled is not None and each.profiled.plain.differing == 0
    assert "regions" in onnx.load(part(out, ".box")).graph.input[0].doc_string
    with Image.open(pictures / "0.png") as picture:
        found, plain = (open_detector(each).detect(picture) for each in (out, exported.onnx))
    assert len(found) > 0
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
