"""Modules of other libraries: captured as they are, and exact in the file, alone and by three."""

from pathlib import Path

import onnx
import pytest
import torch
from zoo import LIBRARIES, randomised

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import check_capture, probe_images
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.run import capture
from mptq_export.data.synthetic import dead_leaves
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import PAPER
from mptq_export.transform.prepare import prepare
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model

NORMALISATION = ((0.5,) * 3, (0.5,) * 3)

#: One of each kind of what is new in them; the rest takes minutes.
QUICK = {
    ("torchvision", "swin"),  # a mask that the forward fills
    ("transformers", "Dinov2WithRegistersForImageClassification"),  # registers between token and patches
    ("transformers", "Aimv2VisionModel"),  # RMS norms that are written out
    ("vit_pytorch", "NesT"),  # norms over the channels of a map
    ("vit_pytorch", "LookViT"),  # scores that two softmaxes read
    ("torch", "encoder causal mask, tokens first"),
    ("torch", "attention with zero_attn"),  # a constant of several rows an image
}
CASES = [
    pytest.param(library, name, bits, marks=() if bits == 8 and (library, name) in QUICK else pytest.mark.slow)
    for library, models in LIBRARIES.items()
    for name in models
    for bits in (8, 4)
]


def made(library: str, name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model, and four images as it takes them."""
    if library in ("transformers", "vit_pytorch"):
        pytest.importorskip(library, reason=f"these models are {library}'s")
    side, make = LIBRARIES[library][name]
    torch.manual_seed(0)
    pixels = torch.from_numpy(dead_leaves(4, side)).permute(0, 3, 1, 2).float()
    return randomised(make()), ((pixels / 255 - 0.5) / 0.5).contiguous()


@pytest.mark.parametrize(("library", "name", "bits"), CASES)
def test_every_tensor_is_exact(tmp_path: Path, library: str, name: str, bits: int):
    model, images = made(library, name)
    captured = capture(model, tuple(images.shape[1:]))
    probe = probe_images(images)
    check_capture(captured, model, probe)
    with torch.no_grad():
        expected = model(images)
        found = evaluate(captured, images)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    graph = prepare(captured, probe, NORMALISATION)
    calibrated = CalibratedGraph(graph, collect(graph, [images.numpy()]), images)
    quantized, recipe = build_recipe(calibrated, lambda _layer: (bits, bits), PAPER)
    path = tmp_path / "model.onnx"
    file = emit(quantized, recipe, input_type="float32", producer="test")
    check_tables(file)
    onnx.save(file, path)
    report = verify_model(path, [images[:1].numpy(), images[1:].numpy()], threads=1)
    assert report.passed, (report.differing, report.plan.floating[:1], report.reservations[:2])
    assert report.batches[1] and report.batches[3]
