from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mptq_export.support.errors import MptqError
from mptq_export.verify.kernels.plan import KernelPlan, read_kernel_plan
from mptq_export.verify.kernels.saturation import PAIR_SUM_SAFE

from .graphs import extreme_weights, linear_model, safe_weights, save


def test_linear_runs_as_integer_gemm(good: Path):
    plan = read_kernel_plan(good)
    (kernel,) = plan.matmuls
    assert (kernel.name, kernel.op, kernel.kind) == ("head/linear", "QGemm", "integer")
    assert kernel.inputs == ("uint8", "int8")
    assert kernel.weight.startswith("int8 per-channel, codes -63..6")
    assert kernel.pair_sum is not None and kernel.pair_sum <= PAIR_SUM_SAFE
    assert not plan.floating and not plan.may_saturate
    assert plan.op_counts["QGemm"] == 1 and plan.op_counts["DequantizeLinear"] == 2


def test_float_fallback_is_seen_and_named(floating: Path):
    plan = read_kernel_plan(floating)
    (kernel,) = plan.floating
    assert (kernel.name, kernel.op, kernel.inputs) == ("head/linear", "Gemm", ("float32", "float32"))
    assert not plan.integer


def test_full_range_weights_are_flagged(tmp_path: Path):
    plan = read_kernel_plan(save(linear_model(extreme_weights()), tmp_path / "m.onnx"))
    assert [kernel.pair_sum for kernel in plan.may_saturate] == [254]


@pytest.mark.parametrize(("pair", "flagged"), [((127, 1), False), ((127, 2), True), ((-128, 0), False)])
def test_only_neighbours_along_the_summed_axis_make_a_pair(tmp_path: Path, pair: tuple[int, int], flagged: bool):
    weights = np.zeros_like(safe_weights())
    weights[4:6, 3] = pair
    weights[3, 3] = 127  # the row before belongs to another pair
    plan = read_kernel_plan(save(linear_model(weights), tmp_path / "m.onnx"))
    assert bool(plan.may_saturate) is flagged


def test_matmuls_inside_a_branch_are_seen(tmp_path: Path):
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["input", "input"], [name], name)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2])])

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["input"], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "zero"], ["condition"]),
            helper.make_node("If", ["condition"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
        ],
        "branches",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert {kernel.name for kernel in read_kernel_plan(save(model, tmp_path / "m.onnx")).floating} == {"then", "else"}


def test_plan_is_plain_json(good: Path):
    plan = read_kernel_plan(good)
    assert isinstance(plan, KernelPlan)
    assert plan.to_json()["matmuls"][0]["op"] == "QGemm"


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x08\x0a"])
def test_garbage_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(MptqError, match=r"bad\.onnx") as error:
        read_kernel_plan(path)
    assert "\n" not in str(error.value)


def test_truncated_file_is_one_line(good: Path):
    good.write_bytes(good.read_bytes()[:-40])
    with pytest.raises(MptqError, match=r"good\.onnx"):
        read_kernel_plan(good)


def test_missing_file_and_folder(tmp_path: Path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(MptqError, match="cannot read"):
            read_kernel_plan(path)


def test_op_that_the_runtime_does_not_know(tmp_path: Path):
    model = linear_model(safe_weights())
    model.graph.node[-1].op_type = "NoSuchOp"
    with pytest.raises(MptqError, match="onnxruntime cannot load"):
        read_kernel_plan(save(model, tmp_path / "m.onnx"))
