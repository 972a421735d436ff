"""Files for Qualcomm's HTP as its simulator runs them: whole, in integers, and what the file says."""

from pathlib import Path

import pytest
import timm
import tiny_detectors
import torch
from tiny_models import KINDS, tiny

from mptq_export import calibrate, export, load
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.verify.elsewhere.run import ElsewhereRequest, verify_elsewhere

pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")


def checkpoint(path: Path, patch: int, kind: str = "vit") -> Path:
    arch, kwargs = KINDS[kind]
    kwargs = {**kwargs, "patch_size": patch}
    torch.manual_seed(0)
    model = tiny(kind) if patch == KINDS["vit"][1]["patch_size"] else timm.create_model(arch, **kwargs)
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": dict(model.state_dict())}, path)
    return path


@pytest.mark.parametrize(
    ("patch", "bits", "residual"),
    [
        (8, (4, 8), 16),
        (4, (8, 16), 16),  # 8 x 8 patches: HTP does not finalize 16-bit tokens that were [B, H, W, C]
    ],
)
def test_a_file_is_whole_in_integers_and_right(patch: int, bits: tuple[int, int], residual: int, tmp_path: Path):
    outputs = Outputs(tmp_path / "m.onnx", target="qnn")
    model, calibration = checkpoint(tmp_path / "m.pt", patch), CalibrationRequest(count=4)
    export_model(
        ExportRequest(
            ModelRequest(str(model)), Uniform(bits, method="paper", residual_bits=residual), outputs, calibration
        )
    )
    report = verify_elsewhere(ElsewhereRequest(outputs.onnx, "qnn", count=3), load_float=_no_float)
    assert report.placement is not None, report.refused
    assert (report.verdict, report.placement.floating) == ("right", ())


def test_a_second_token_with_a_head_of_its_own_is_right_at_4_bits(tmp_path: Path):
    """Its 16-bit codes are cut out of the tokens at an offset, in front of 4-bit weights."""
    outputs = Outputs(tmp_path / "m.onnx", target="qnn")
    model, calibration = checkpoint(tmp_path / "m.pt", 8, "deit_distilled"), CalibrationRequest(count=4)
    export_model(ExportRequest(ModelRequest(str(model)), Uniform((4, 16), method="paper"), outputs, calibration))
    assert verify_elsewhere(ElsewhereRequest(outputs.onnx, "qnn", count=3), load_float=_no_float).verdict == "right"


def _no_float(_asked: ModelRequest) -> None:
    raise AssertionError("no float model was asked for")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_the_network_of_a_detector_is_whole_in_integers_and_right(kind: str, tmp_path: Path):
    """Group norms, convolutions, nearest upsampling, and heads that all levels share."""
    detector = getattr(tiny_detectors, kind)()
    calibrated = calibrate(load(detector, img_size=tiny_detectors.SIZE), count=4)
    export(calibrated, tmp_path / "m.onnx", bits=(8, 8), method="paper", target="qnn")
    report = verify_elsewhere(ElsewhereRequest(tmp_path / "m.onnx", "qnn", count=1), load_float=_no_float)
    assert report.placement is not None, report.refused
    assert (report.verdict, report.placement.left, report.placement.floating) == ("right", (), ())
