"""A module exported as every model is, and every tensor of its file compared with `kernels_ref`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import check_capture, probe_images
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.run import capture
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.synthetic import dead_leaves
from mptq_export.emit.exact.emitter import emit
from mptq_export.load.forward import tensors
from mptq_export.load.outputs import LOGITS, Output
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import MINMAX
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model

#: Images a model is calibrated on; the last ones are compared.
IMAGES = 4

#: Largest relative difference between the captured graph and the model.
SAME = 1e-3


def synthetic_images(preprocessing: Preprocessing) -> torch.Tensor:
    """Dead leaves, normalised; float32 NCHW."""
    channels, height, width = preprocessing.input_size
    mean, std = (np.array(part, np.float32).reshape(-1, 1, 1) for part in (preprocessing.mean, preprocessing.std))
    pixels = dead_leaves(IMAGES, max(height, width))[:, :height, :width].transpose(0, 3, 1, 2).astype(np.float32)
    return torch.from_numpy((pixels[:, :channels] / 255 - mean) / std)


def exported(
    model: nn.Module,
    preprocessing: Preprocessing,
    outputs: tuple[Output, ...] = LOGITS,
    *,
    widths: Sequence[tuple[int, int]],
    batches: Sequence[int],
) -> list[int]:
    """Export and compare.

    Args:
        model: float32, in evaluation mode.
        preprocessing: how an image becomes its input.
        outputs: what it gives.
        widths: of weights and activations, one file each.
        batches: how many images are compared at a time.

    Returns:
        The number of equal values at each width.

    Raises:
        MptqError: the model has no integer form.
        ValueError: the captured graph is another function, or a file differs from the reference.
    """
    images = synthetic_images(preprocessing)
    captured = capture(model, preprocessing.input_size, outputs)
    with torch.no_grad():
        given, found = tensors(model(images)), evaluate(captured, images)
    wanted = torch.cat([part.flatten(1) for part in given], 1) if captured.joined else given[0]
    error = float((found - wanted).abs().max() / wanted.abs().max())
    if not error <= SAME:
        raise ValueError(f"the captured graph differs from the model by {error:.1e} of its largest output")
    probe = probe_images(images)
    check_capture(captured, model, probe)
    graph = prepare(captured, probe, (preprocessing.mean, preprocessing.std))
    calibrated = CalibratedGraph(graph, collect(graph, [images.numpy()]), images)
    return [_compared(calibrated, bits, [images[-batch:].numpy() for batch in batches]) for bits in widths]


def _compared(calibrated: CalibratedGraph, bits: tuple[int, int], inputs: list[np.ndarray]) -> int:
    graph, recipe = build_recipe(calibrated, lambda _: bits, MINMAX)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(emit(graph, recipe, input_type="float32", producer="conformance"), path)
        report = verify_model(path, inputs)
    if not report.passed:
        raise ValueError(
            f"{report.verdict}: {report.differing} values differ, {len(report.plan.floating)} matmuls in float, not "
            f"proved: {'; '.join(report.reservations) or 'nothing'}"
        )
    return report.values
