"""The comparer against stand-in references, so that what it finds does not depend on kernels_ref."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kernels_ref import Interpreter
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph
from mptq_export.verify.report import VerifyReport

from .graphs import K, linear_model, safe_weights, save

Tensors = dict[str, NDArray[Any]]


class RuntimeTrace:
    """A reference that answers with onnxruntime's own tensors of a file, changed by `edit`."""

    def __init__(self, path: Path, edit: Callable[[Tensors], None] = lambda tensors: None):
        self.graph = open_runtime_graph(path)
        self.kernels = Interpreter(path).kernels
        self.edit = edit

    @property
    def unclaimed(self) -> dict[str, str]:
        return {}

    def every_value(self, name: str) -> NDArray[Any] | None:
        return None

    def run(self, feeds: Tensors, *, trace: Collection[str]) -> Tensors:
        assert trace
        constants = {t.name: numpy_helper.to_array(t) for t in self.graph.model.graph.initializer}
        tensors = constants | {name: value.copy() for name, value in self.graph.run_traced(feeds).items()}
        self.edit(tensors)
        return tensors


def inputs(count: int = 3, batch: int = 2) -> list[NDArray[np.float32]]:
    return list(np.random.default_rng(5).standard_normal((count, batch, K)).astype(np.float32))


def verify(path: Path, reference: RuntimeTrace | None = None) -> VerifyReport:
    return verify_model(path, inputs(), reference=reference)


def statuses(report: VerifyReport) -> dict[str, str]:
    return {tensor.name: tensor.status for tensor in report.tensors}


def test_same_tensors_pass_and_every_tensor_is_accounted_for(good: Path):
    report = verify(good, RuntimeTrace(good))
    assert report.passed and report.exact and report.differing == 0 and not report.diverging
    assert report.samples == 6
    assert statuses(report) == {
        "a_q": "compared",
        "a": "fused",
        "w_f": "fused",
        "b_f": "fused",
        "y": "fused",
        "y_q": "compared",
        "y_dq": "compared",
        "scaled": "compared",
        "logits": "compared",
    }
    assert report.values == 6 * (K + 4 * 10)
    assert report.runtime_made == ("y_dq/duplicated",)


def test_one_changed_weight_is_found_at_the_first_tensor_that_it_reaches(good: Path, tmp_path: Path):
    weights = safe_weights()
    weights[7, 4] ^= 63
    report = verify(good, RuntimeTrace(save(linear_model(weights), tmp_path / "mutated.onnx")))
    assert not report.passed
    assert [tensor.name for tensor in report.diverging] == ["y_q", "y_dq", "scaled", "logits"]
    found = report.diverging[0].difference
    assert 0 < found.differing <= 6  # only channel 4 can differ
    assert report.outputs["logits"].differing == report.diverging[-1].difference.differing
    assert report.instrumented["logits"].differing == 0
    assert report.to_json()["first_diverging"] == "y_q"


def test_a_difference_in_one_value_of_one_batch_is_found(good: Path):
    calls = []

    def flip(tensors: Tensors) -> None:
        calls.append(None)
        if len(calls) == 2:
            tensors["scaled"][1, 3] = np.nextafter(tensors["scaled"][1, 3], np.float32(np.inf))

    report = verify(good, RuntimeTrace(good, flip))
    assert [(tensor.name, tensor.difference.differing) for tensor in report.diverging] == [("scaled", 1)]
    assert report.differing == 1 and not report.passed


def test_saturation_in_the_runtime_is_reported(tmp_path: Path):
    """What a CPU without VNNI gives for weights of 8 bits: int16 sums of two products, saturated.

    This CPU is one or is none: its sums are compared with exact and with saturated ones, and differ from one of them.
    """
    weights = np.full_like(safe_weights(), 127)
    path = save(linear_model(weights), tmp_path / "unsafe.onnx")

    def saturate(tensors: Tensors) -> None:
        a = tensors["a_q"].astype(np.int32)
        pairs = a[:, 0::2, None] * 127 + a[:, 1::2, None] * 127
        acc = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1) - 128 * 127 * K + tensors["b"]
        y = acc.astype(np.float32) * (tensors["a_scale"] * tensors["w_scale"] / tensors["y_scale"])
        tensors["y_q"] = np.clip(np.rint(y) + 131, 0, 255).astype(np.uint8)

    (report,) = (found for found in (verify(path), verify(path, RuntimeTrace(path, saturate))) if found.diverging)
    assert report.diverging[0].name == "y_q" and not report.passed
    assert [kernel.name for kernel in report.plan.may_saturate] == ["head/linear"]


def test_float_matmul_fails_even_where_nothing_differs(floating: Path):
    report = verify(floating, RuntimeTrace(floating))
    assert report.exact and not report.passed
    assert [kernel.name for kernel in report.plan.floating] == ["head/linear"]


def test_a_constant_folded_at_load_is_compared(tmp_path: Path):
    """Weights that the file holds as INT4 and casts to int8."""
    model = linear_model(safe_weights())
    codes = np.random.default_rng(2).integers(-8, 8, (K, 10)).astype(np.int8)
    weight = next(entry for entry in model.graph.initializer if entry.name == "w")
    weight.CopyFrom(helper.make_tensor("w4", onnx.TensorProto.INT4, codes.shape, codes.flatten().tolist()))
    model.graph.node.insert(0, helper.make_node("Cast", ["w4"], ["w"], "w", to=onnx.TensorProto.INT8))
    path = save(model, tmp_path / "int4.onnx")
    report = verify(path, RuntimeTrace(path))
    assert report.passed and statuses(report)["w"] == "folded" and report.plan.matmuls[0].op == "QGemm"

    def corrupt(tensors: Tensors) -> None:
        tensors["w"] = tensors["w"] + np.eye(K, 10, dtype=np.int8)

    report = verify(path, RuntimeTrace(path, corrupt))
    assert report.diverging[0].name == "w" and report.diverging[0].difference.differing == 3 * 10


def test_another_shape_in_the_reference_is_a_difference(good: Path):
    def transpose(tensors: Tensors) -> None:
        tensors["y_q"] = tensors["y_q"].T

    report = verify(good, RuntimeTrace(good, transpose))
    assert [tensor.name for tensor in report.diverging] == ["y_q"]
    assert "shape" in report.diverging[0].difference.note


def test_a_tensor_without_a_reference_is_an_error(good: Path):
    def forget(tensors: Tensors) -> None:
        del tensors["y_q"]

    with pytest.raises(MptqError, match="no value for tensor y_q"):
        verify(good, RuntimeTrace(good, forget))


def test_uint8_input(tmp_path: Path):
    path = save(linear_model(safe_weights(), uint8_input=True), tmp_path / "pixels.onnx")
    batch = np.random.default_rng(0).integers(0, 256, (2, K), dtype=np.uint8)
    assert verify_model(path, [batch], reference=RuntimeTrace(path)).passed
    with pytest.raises(MptqError, match="takes uint8, not float32"):
        verify_model(path, inputs(), reference=RuntimeTrace(path))


def test_no_inputs_and_wrong_shapes_are_one_line(good: Path):
    with pytest.raises(MptqError, match="no inputs"):
        verify_model(good, [], reference=RuntimeTrace(good))
    with pytest.raises(MptqError, match="cannot run the model"):
        verify_model(good, [np.zeros((1, K + 1), np.float32)], reference=RuntimeTrace(good))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(good: Path, threads: int):
    report = verify_model(good, inputs(), threads=threads, reference=RuntimeTrace(good))
    assert report.passed and report.threads == threads
