"""A file whose tensors do not fit into memory together is compared a part at a time, with the same result."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import images, quantized

from kernels_ref import Interpreter
from mptq_export.emit.exact.emitter import emit
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph

SMALL = 5000


@pytest.fixture(scope="module")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts") / "swin.onnx"
    onnx.save(emit(*quantized("swin"), input_type="float32", producer="test"), path)
    return path


def inputs(*batches: int) -> list[np.ndarray]:
    return [images("swin", batch, seed).numpy() for seed, batch in enumerate(batches)]


def test_a_report_in_parts_is_that_of_all_at_once(swin: Path) -> None:
    whole = verify_model(swin, inputs(1, 3), threads=1)
    parts = verify_model(swin, inputs(1, 3), threads=1, part_bytes=SMALL)
    assert whole.exact and whole == parts


def test_every_tensor_has_the_same_bits_and_every_node_runs_once(swin: Path) -> None:
    whole, cut = open_runtime_graph(swin, threads=1), open_runtime_graph(swin, threads=1, part_bytes=SMALL)
    assert not whole.parts and len(cut.parts) > 20
    made = [name for part in cut.parts for name in part.makes]
    assert len(made) == len(set(made))
    feed = {"input": inputs(1)[0]}
    expected, found = whole.run_traced(feed), cut.run_traced(feed)
    assert set(expected) == set(found)
    assert all(np.array_equal(expected[name], found[name], equal_nan=True) for name in expected)


def test_a_part_is_no_larger_than_asked_unless_one_node_is(swin: Path) -> None:
    cut = open_runtime_graph(swin, threads=1, part_bytes=SMALL)
    sizes = [sum(value.nbytes for value in made.values()) for made in cut.run_parts({"input": inputs(1)[0]})]
    nodes = {name: node.name for node in cut.model.graph.node for name in node.output}
    for size, part in zip(sizes, cut.parts, strict=True):
        assert size <= SMALL or len({nodes[name] for name in part.makes}) == 1


def test_a_difference_in_parts_is_found(swin: Path) -> None:
    class Off:
        """A reference that gives one other value of one tensor."""

        def __init__(self, of: Interpreter, name: str) -> None:
            self.of, self.name = of, name
            self.unclaimed, self.every_value, self.kernels = of.unclaimed, of.every_value, of.kernels

        def run(self, feeds: dict[str, Any], *, trace: Any, observe: Any = None) -> dict[str, Any]:
            def changed(name: str, value: np.ndarray) -> None:
                if name == self.name:
                    value = value.copy()
                    value.flat[0] += 1
                observe(name, value)

            return self.of.run(feeds, trace=trace, observe=changed)

    made = {name for node in onnx.load(swin).graph.node for name in node.output}
    name = next(each for each in open_runtime_graph(swin).readable if each in made and "mlp.fc1" in each)
    reference = Off(Interpreter(swin), name)
    report = verify_model(swin, inputs(1), threads=1, reference=reference, part_bytes=SMALL)
    assert not report.passed
    assert [(tensor.name, tensor.difference.differing) for tensor in report.diverging] == [(name, 1)]


def test_values_that_are_handed_on_are_all_values_and_are_let_go(swin: Path) -> None:
    interpreter, feed = Interpreter(swin), {"input": inputs(1)[0]}
    traced, seen = interpreter.run(feed, trace=True), {}
    outputs = interpreter.run(feed, trace=True, observe=lambda name, value: seen.update({name: value.copy()}))
    assert set(outputs) < set(traced) == set(seen)
    assert all(np.array_equal(seen[name], traced[name], equal_nan=True) for name in seen)
