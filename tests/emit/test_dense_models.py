"""Maps, boxes and features of transformers: every tensor is exact, at any batch, and near the model's."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn
from zoo.dense import DENSE, Dense

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import check_capture, probe_images
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import MINMAX
from mptq_export.runtime.session import open_session
from mptq_export.transform.prepare import prepare
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model

pytest.importorskip("transformers", reason="these are models of transformers")

#: Of these every op is in the others.
QUICK = ("SegformerForSemanticSegmentation", "DPTForDepthEstimation", "YolosForObjectDetection", "SamVisionModel")


def pictures(count: int, size: tuple[int, int, int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=generator)
    fine = 0.3 * torch.randn(count, *size, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size[1:], mode="bilinear") + fine).contiguous()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DENSE]
)
def test_every_tensor_is_exact_and_near_the_model(tmp_path: Path, name: str) -> None:
    dense = DENSE[name]
    model, seen = dense.build(), pictures(8, dense.size, 1)
    captured = capture(model, dense.size, dense.outputs)
    check_capture(captured, model, probe_images(seen))
    graph = prepare(captured, seen[:5])
    calibrated = CalibratedGraph(graph, collect(graph, [seen.numpy()]), seen)
    for bits in (8, 4):
        graph, made = build_recipe(calibrated, lambda _, bits=bits: (bits, bits), MINMAX)
        file = emit(graph, made, input_type="float32", producer="test")
        check_tables(file)
        path = tmp_path / f"{bits}.onnx"
        onnx.save(file, path)
        report = verify_model(path, [seen[:3].numpy(), seen[3:4].numpy()], threads=1)
        assert report.passed, [(tensor.name, tensor.op, tensor.difference) for tensor in report.diverging[:3]]
        if bits == 8:
            check_near(open_session(path, threads=1), model, dense, seen)


def check_near(session: ort.InferenceSession, model: nn.Module, dense: Dense, images: torch.Tensor) -> None:
    """Every output has its name, and its errors are a part of what its values differ by."""
    assert [each.name for each in session.get_outputs()] == [output.name for output in dense.outputs]
    results = model(images)
    wanted = [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]
    for got, expected in zip(session.run(None, {"input": images.numpy()}), wanted, strict=True):
        assert got.shape == expected.shape
        assert np.abs(got - expected).mean() < 0.35 * np.abs(expected - expected.mean()).mean()
