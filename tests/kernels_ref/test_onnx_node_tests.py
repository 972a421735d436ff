"""ONNX's own backend tests of single nodes, and onnxruntime on the same: what a claim of equal bits is worth."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from kernels_ref import Interpreter, InterpreterError
from kernels_ref.ops.table import OPS
from mptq_export.runtime.rare_types import to_array

#: Tests of these take most of the time that it takes to make all; those of ops that are not here are left out.
POOLING = {"averagepool": "AveragePool", "lppool": "LpPool", "maxpool": "MaxPool"}

#: Tests that are refused, and what the refusal says.
REFUSED = {
    "test_identity_sequence": "graph input x is not a tensor",
    "test_identity_opt": "graph input opt_in is not a tensor",
    "test_maxpool_with_argmax_2d_precomputed_pads": "the places of the maxima are not supported",
    "test_maxpool_with_argmax_2d_precomputed_strides": "the places of the maxima are not supported",
} | dict.fromkeys(
    (
        "test_averagepool_2d_ceil",
        "test_averagepool_2d_ceil_last_window_starts_on_pad",
        "test_averagepool_2d_dilations",
        "test_averagepool_3d_dilations_small",
        "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True",
        "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
        "test_maxpool_2d_ceil",
        "test_maxpool_2d_ceil_output_size_reduce_by_one",
        "test_maxpool_3d_dilations_use_ref_impl_large",
    ),
    "sizes that are rounded up are not supported",
)
#: What onnxruntime 1.32 knows; newer opsets are tried as this one.
NEWEST_OPSET = 25
NOT_THERE = (
    ort_state.Fail,
    ort_state.InvalidGraph,
    ort_state.InvalidArgument,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,  # a type that NumPy does not have
)


@dataclass(frozen=True)
class Case:
    """One data set of a test."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, NDArray[Any]]
    expected: dict[str, Any]
    rtol: float
    atol: float


@cache
def cases() -> tuple[Case, ...]:
    """Every test all of whose nodes are ops of `kernels_ref`."""
    prefix = "onnx.backend.test.case.node"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (name for name, op in POOLING.items() if op not in OPS):
            patch.setitem(sys.modules, f"{prefix}.{name}", ModuleType(name))
        from onnx.backend.test.case.node import collect_testcases

        return tuple(case for test in collect_testcases(None) for case in _cases(test))


def _cases(test: Any) -> Iterator[Case]:
    nodes = test.model.graph.node
    if not all(node.op_type in OPS and node.domain in ("", "ai.onnx") for node in nodes):
        return
    graph = test.model.graph
    inputs, outputs = ([entry.name for entry in entries] for entries in (graph.input, graph.output))
    for given, expected in test.data_sets:
        feeds = {name: _array(value) for name, value in zip(inputs, given, strict=True)}
        yield Case(
            test.name, test.model, feeds, dict(zip(outputs, map(_array, expected), strict=True)), test.rtol, test.atol
        )


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def same(got: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether all bits are the same, but those of a NaN."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return False
    if got.dtype.kind == "O":
        return bool((got == wanted).all())
    if "float" not in got.dtype.name:
        return got.tobytes() == wanted.tobytes()
    numbers = ~np.isnan(got.astype(np.float64))
    return bool(np.isnan(wanted[~numbers].astype(np.float64)).all()) and (
        got[numbers].tobytes() == wanted[numbers].tobytes()
    )


def near(got: NDArray[Any], wanted: NDArray[Any], case: Case) -> bool:
    """What the test itself asks for."""
    wide = (x.astype(np.float64) for x in (got, wanted))
    return (
        got.dtype == wanted.dtype
        and got.shape == wanted.shape
        and np.allclose(*wide, rtol=case.rtol, atol=case.atol, equal_nan=True)
    )


def traced(case: Case) -> tuple[dict[str, NDArray[Any]], bool]:
    """The outputs, and whether all that is in between claims equal bits."""
    interpreter = Interpreter(case.model)
    values = interpreter.run(case.feeds, trace=True)
    return {name: values[name] for name in case.expected}, not interpreter.unclaimed


def test_every_test_of_these_ops_passes():
    """Equal bits where they are claimed, else the test's own tolerance; in a plain run too."""
    assert len(cases()) > 500
    wrong = []
    for case in cases():
        if case.name in REFUSED:
            continue
        got, claimed = traced(case)
        plain = Interpreter(case.model).run(case.feeds)
        for name, wanted in case.expected.items():
            fits = same(got[name], wanted) or (not claimed and near(got[name], wanted, case))
            if not fits:
                wrong.append((case.name, name))
            if not same(plain[name], got[name]):
                wrong.append((case.name, f"{name} of a plain run"))
    assert not wrong


def test_what_is_refused_is_refused_by_name():
    found = {}
    for case in cases():
        try:
            Interpreter(case.model).run(case.feeds)
        except InterpreterError as error:
            found[case.name] = str(error)
    assert found.keys() == REFUSED.keys() & {case.name for case in cases()}
    assert all(REFUSED[name] in reason for name, reason in found.items())


def in_onnxruntime(case: Case) -> list[NDArray[Any]] | None:
    """onnxruntime's outputs; None where it has not this op, opset or type, or takes it packed only."""
    if any(value.dtype.name.endswith(("int4", "int2", "float4_e2m1fn")) for value in case.feeds.values()):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for entry in model.opset_import:
        entry.version = min(entry.version, NEWEST_OPSET)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        if any(value.dtype.kind in "OSU" for value in case.feeds.values()):
            return [np.asarray(value) for value in session.run(list(case.expected), case.feeds)]
        feeds = {name: _given(value) for name, value in case.feeds.items()}
        return [to_array(value) for value in session.run_with_ort_values(list(case.expected), feeds)]
    except NOT_THERE:
        return None


def _given(value: NDArray[Any]) -> ort.OrtValue:
    if value.dtype.isbuiltin == 1:
        return ort.OrtValue.ortvalue_from_numpy(value)
    held = value.view(f"u{value.dtype.itemsize}")
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(held, helper.np_dtype_to_tensor_dtype(value.dtype))


def test_what_claims_equal_bits_has_them_in_onnxruntime():
    """On this CPU, what has no claim differs in dozens of these tests."""
    compared, wrong = 0, []
    for case in cases():
        outputs = None if case.name in REFUSED else in_onnxruntime(case)
        if outputs is None:
            continue
        got, claimed = traced(case)
        compared += 1
        if claimed and not all(same(value, found) for value, found in zip(got.values(), outputs, strict=True)):
            wrong.append(case.name)
    assert compared > 500
    assert not wrong
