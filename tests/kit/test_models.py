"""Kits of other models, widths and input types than the demo's."""

import sys
from pathlib import Path

import onnx
import pytest
from tiny_models import pixels, quantized

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.emit.exact.emitter import emit
from mptq_export.kit.inputs import golden_inputs
from mptq_export.kit.probes import find_probes
from mptq_export.kit.write import write_kit
from mptq_export.quantize.method import MINMAX

from .helpers import call

#: 32x32 pixels as they are: nothing is cut or resized.
PREPROCESSING = Preprocessing(
    input_size=(3, 32, 32),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bicubic",
    crop_pct=1.0,
    crop_mode="center",
)


@pytest.mark.parametrize(("kind", "bits", "input_type"), [("swin", 8, "float32"), ("vit", 3, "uint8")])
def test_a_kit_passes(kind: str, bits: int, input_type: str, tmp_path: Path) -> None:
    graph, recipe = quantized(kind, (bits, bits), MINMAX)
    path = tmp_path / "m.onnx"
    onnx.save(emit(graph, recipe, input_type=input_type, producer="1"), path)
    inputs = golden_inputs(path, None, PREPROCESSING)
    assert [array.dtype.name for array in inputs] == [input_type] * 2
    write_kit(path, inputs, tmp_path / "kit")
    result = call(sys.executable, tmp_path / "kit" / "run.py", "--runs", 1)
    assert result.returncode == 0, result.stdout + result.stderr
    blocks = [probe.block for probe in find_probes(onnx.load(path)) if probe.boundary]
    expected = [f"layers.{i}.blocks.{j}" for i in range(2) for j in range(2)] if kind == "swin" else []
    assert set(expected or ["blocks.0", "blocks.1"]) <= set(blocks)


def test_pixels_come_back_exactly(tmp_path: Path) -> None:
    graph, recipe = quantized("vit", (8, 8), MINMAX)
    path = tmp_path / "m.onnx"
    onnx.save(emit(graph, recipe, input_type="uint8", producer="1"), path)
    images = pixels("vit", 2).numpy()
    inputs = golden_inputs(path, PREPROCESSING.normalize(images), PREPROCESSING)
    assert [array.tobytes() for array in inputs] == [image.tobytes() for image in images]
