"""Depthwise convolutions: one integer kernel each, for codes and for floats, and refused where they are not exact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import images, prepared, quantized

from mptq_export.calibrate.sites import sites
from mptq_export.capture.ops import Depthwise
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import BEST, MINMAX
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe, Region
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError


def convolutions(kind: str) -> list[str]:
    return [node.name for node in prepared(kind) if isinstance(node.op, Depthwise)]


def emitted(kind: str, made: Recipe) -> onnx.ModelProto:
    return emit(prepared(kind), made, input_type="float32", producer="1")


def test_what_is_read_as_floats_has_codes_of_its_own():
    keys = {site.key for site in sites(prepared("maxvit"))}
    assert convolutions("maxvit")
    assert not {f"{name}.output" for name in convolutions("maxvit")} & keys  # an activation function alone reads them
    assert {f"{name}.output" for name in convolutions("pit")} <= {site.key for site in sites(prepared("pit"))}


@pytest.mark.parametrize("kind", ["pit", "maxvit"])
def test_every_one_is_a_convolution_between_codes(kind: str):
    graph = emitted(kind, quantized(kind, (8, 8), MINMAX)[1]).graph
    readers = {name: node.op_type for node in graph.node for name in node.input}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert [node.name for node in convs if node.name in convolutions(kind)] == convolutions(kind)
    assert {readers[node.output[0]] for node in convs} == {"QuantizeLinear"}


# On some CPUs most images of maxvit have a 4-bit code on a boundary; test_simulator.py compares its codes.
@pytest.mark.parametrize(("kind", "bits"), [("pit", (8, 8)), ("pit", (4, 4)), ("maxvit", (8, 8))])
def test_the_simulation_computes_what_the_file_computes(tmp_path: Path, kind: str, bits: tuple[int, int]):
    graph, made = quantized(kind, bits, BEST)
    onnx.save(emit(graph, made, input_type="float32", producer="1"), tmp_path / "m.onnx")
    x = images(kind, 16, 9)
    got = open_session(tmp_path / "m.onnx", threads=1).run(None, {"input": x.numpy()})[0]
    with torch.no_grad():
        expected = Simulator.of(graph, made).logits(graph, x).numpy()
    assert np.median(np.abs(got - expected).max(1) / np.ptp(expected)) < 0.02


def test_a_bias_that_leaves_int32_is_refused():
    made, (name,) = quantized("pit", (8, 8), MINMAX)[1], convolutions("pit")
    made.weights[name] = replace(made.weights[name], bias=made.weights[name].bias + np.float32(1e9))
    with pytest.raises(MptqError, match=f"^{name} cannot be proved exact: int32 accumulator"):
        emitted("pit", made)


def test_codes_with_regions_are_refused():
    made, (name,) = quantized("pit", (8, 8), MINMAX)[1], convolutions("pit")
    quant, key = made.activations[f"{name}.output"], f"{name}.output"
    low = quant.zero_point % 2
    made.activations[key] = replace(quant, low=low, high=low + 200, regions=(Region(1, low + 200),))
    with pytest.raises(MptqError, match="cannot give codes with regions"):
        emitted("pit", made)
