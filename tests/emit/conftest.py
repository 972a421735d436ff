"""Emitted files, made once a session."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from tiny_models import quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import BEST, Method
from mptq_export.recipe.schema import Recipe

Emitted = Callable[..., tuple[Path, Recipe]]


@pytest.fixture(scope="session")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """A function of (kind, bits, input_type, method) that gives the file and its recipe."""
    folder = tmp_path_factory.mktemp("emitted")
    made: dict[Path, Recipe] = {}

    def make(kind: str, bits: int, input_type: str = "float32", method: Method = BEST) -> tuple[Path, Recipe]:
        path = folder / f"{kind}.{bits}.{input_type}.{method is BEST}.onnx"
        if path not in made:
            graph, made[path] = quantized(kind, (bits, bits), method)
            onnx.save(emit(graph, made[path], input_type=input_type, producer="1"), path)
        return path, made[path]

    return make
