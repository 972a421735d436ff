"""The kernels of onnxruntime and those of kernels_ref: the same ones, or a reason why a file is not exact."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kernels_ref import Interpreter
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.agreement import ReferenceKernels
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph
from mptq_export.verify.report import VerifyReport

Array = NDArray[Any]
RNG = np.random.default_rng(3)
NEW_ENOUGH = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 30)
pytestmark = pytest.mark.skipif(not NEW_ENOUGH, reason="older versions of onnxruntime fuse fewer forms")

SAFE = RNG.integers(-63, 64, (32, 24)).astype(np.int8)
FILTERS = RNG.integers(-63, 64, (6, 4, 3, 3)).astype(np.int8)
CONSTANTS: dict[str, Any] = {
    "s": np.float32(0.0173),
    "z": np.uint8(121),
    "z0": np.uint8(0),
    "z8": np.int8(-7),
    "zw": np.int8(0),
    "ws": np.float32(0.0051),
    "sy": np.float32(0.041),
    "w": SAFE,
    "wt": np.ascontiguousarray(SAFE.T),
    "bias": RNG.standard_normal(24).astype(np.float32),
    "row": RNG.standard_normal((1, 24)).astype(np.float32),
    "codes": RNG.integers(-3000, 3000, 24).astype(np.int32),
    "bs": np.float32(0.0173 * 0.0051),
    "f": FILTERS,
    "real filters": FILTERS.astype(np.float32),
    "fs": np.linspace(0.003, 0.005, 6).astype(np.float32),
    "fz": np.zeros(6, np.int8),
    "f bias": RNG.standard_normal(6).astype(np.float32),
    "one": np.float32(1),
    "shape": np.array([-1, 32], np.int64),
}
IN = ("QuantizeLinear x s z a", "DequantizeLinear a s z af")
WEIGHT = "DequantizeLinear w ws zw wf"
OUT = ("QuantizeLinear t sy z y", "DequantizeLinear y sy z yf")
CONV = ("DequantizeLinear f ws zw ff", "Conv af ff t")


def file_of(lines: Sequence[str], shape: tuple[int, ...], output: str = "yf") -> onnx.ModelProto:
    """A model of lines: op, inputs, output; separated by blanks, `~` for a blank within a name."""
    nodes = []
    for line in lines:
        op, *names = (part.replace("~", " ") for part in line.split())
        attributes = {"perm": [1, 0]} if op == "Transpose" else {}
        nodes.append(helper.make_node(op, names[:-1], names[-1:], names[-1], **attributes))
    used = {name for each in nodes for name in each.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def verified(model: onnx.ModelProto, path: Path, shape: tuple[int, ...]) -> VerifyReport:
    onnx.save(model, path)
    batches = [scale * RNG.standard_normal((3, *shape)).astype(np.float32) for scale in (0.5, 4.0)]
    return verify_model(path, batches, threads=1)


FUSED: dict[str, tuple[str, Sequence[str], tuple[int, ...], str]] = {
    "a Gemm": ("QGemm", (*IN, WEIGHT, "Gemm af wf t", *OUT), (32,), ""),
    "a Gemm with int32 codes": (
        "QGemm",
        (*IN, WEIGHT, "DequantizeLinear codes bs bf", "Gemm af wf bf t", *OUT),
        (32,),
        "",
    ),
    "a Gemm with a float bias": ("QGemm", (*IN, WEIGHT, "Gemm af wf bias t", *OUT), (32,), "made"),
    "MatMul and Add of a row": ("QGemm", (*IN, WEIGHT, "MatMul af wf p", "Add p bias t", *OUT), (32,), "made"),
    "a MatMul": ("QLinearMatMul", (*IN, WEIGHT, "MatMul af wf t", *OUT), (5, 32), ""),
    "a MatMul without zero points": (
        "QLinearMatMul",
        ("QuantizeLinear x s a", "DequantizeLinear a s af", "DequantizeLinear w ws wf", "MatMul af wf t", *OUT),
        (5, 32),
        "",
    ),
    "a MatMul to floats": ("MatMulIntegerToFloat", (*IN, WEIGHT, "MatMul af wf yf"), (5, 32), ""),
    "weights behind a Transpose": (
        "QLinearMatMul",
        (*IN, "DequantizeLinear wt ws zw wf", "Transpose wf wt2", "MatMul af wt2 t", *OUT),
        (5, 32),
        "",
    ),
    "a Reshape of floats before and after": (
        "QLinearMatMul",
        (*IN, "Reshape af shape ar", WEIGHT, "MatMul ar wf p", "Transpose p t", *OUT),
        (5, 32),
        "",
    ),
    "int8 activations for one reader": (
        "QLinearMatMul",
        (
            "QuantizeLinear x s z8 a",
            "DequantizeLinear a s z8 af",
            WEIGHT,
            "MatMul af wf t",
            "QuantizeLinear t sy z8 y",
            "DequantizeLinear y sy z8 yf",
        ),
        (5, 32),
        "",
    ),
    "a Relu that changes no code": (
        "QGemm",
        (*IN, WEIGHT, "Gemm af wf p", "Relu p t", "QuantizeLinear t sy z0 y", "DequantizeLinear y sy z0 yf"),
        (32,),
        "",
    ),
    "a convolution per tensor": ("QLinearConv", (*IN, *CONV, *OUT), (4, 7, 8), ""),
    "a convolution with a float bias": (
        "QLinearConv",
        (*IN, CONV[0], "Conv af ff f~bias t", *OUT),
        (4, 7, 8),
        "made",
    ),
    "a product with 1, which a runtime leaves out": (
        "QLinearMatMul",
        (*IN, WEIGHT, "MatMul af wf t", *OUT, "Mul yf one end"),
        (5, 32),
        "",
    ),
    "a pair for each reader": (
        "QLinearMatMul",
        (
            *IN,
            WEIGHT,
            "MatMul af wf t",
            *OUT,
            "QuantizeLinear t sy z y2",
            "DequantizeLinear y2 sy z yf2",
            "Mul yf yf2 end",
        ),
        (5, 32),
        "",
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_one_kernel_in_both(name: str, tmp_path: Path):
    op, lines, shape, reason = FUSED[name]
    model = file_of(lines, shape, "end" if "end" in lines[-1].split() else "yf")
    assert op in {kernel.op for kernel in Interpreter(model).kernels}
    report = verified(model, tmp_path / "m.onnx", shape)
    assert op in report.plan.op_counts
    assert report.equal and not report.unclaimed
    assert report.verdict == ("equal on these inputs" if reason else "exact"), report.reservations
    assert all(reason in each for each in report.disagreements) and bool(report.disagreements) == bool(reason)


KEPT_IN_FLOAT: dict[str, Sequence[str]] = {
    "two scales of one product": (
        *IN,
        WEIGHT,
        "Gemm af wf t",
        *OUT,
        "QuantizeLinear t s z v",
    ),
    "a Relu that clips": (*IN, WEIGHT, "Gemm af wf p", "Relu p t", *OUT),
    "MatMul, Add, and a Relu that clips": (*IN, WEIGHT, "MatMul af wf p", "Add p bias q", "Relu q t", *OUT),
}


@pytest.mark.parametrize("name", KEPT_IN_FLOAT)
def test_a_product_that_stays_in_floats_is_no_integer_kernel(name: str, tmp_path: Path):
    model = file_of(KEPT_IN_FLOAT[name], (32,))
    kernels = {kernel.op for kernel in Interpreter(model).kernels}
    assert not kernels & {"QGemm", "QLinearMatMul", "MatMulIntegerToFloat"}
    report = verified(model, tmp_path / "m.onnx", (32,))
    assert not {"QGemm", "QLinearMatMul"} & set(report.plan.op_counts)
    assert report.verdict != "exact" and report.plan.floating
    assert any("a runtime may add floats in another order" in reason for reason in report.unclaimed.values())


REFUSED: dict[str, tuple[Sequence[str], tuple[int, ...], str]] = {
    "weights only": ((WEIGHT, "MatMul x wf yf"), (32,), "MatMulNBits"),
    "float weights of a convolution": ((*IN, "Conv af real~filters t", *OUT), (4, 7, 8), "quantizes the float weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_runtime_rounds_by_itself_is_refused_by_name(name: str, tmp_path: Path):
    lines, shape, word = REFUSED[name]
    with pytest.raises(MptqError, match=word) as error:
        verified(file_of(lines, shape), tmp_path / "m.onnx", shape)
    assert "\n" not in str(error.value)


def test_a_kernel_that_kernels_ref_does_not_compute_is_named(tmp_path: Path):
    path, model = tmp_path / "m.onnx", file_of(FUSED["a MatMul"][1], (5, 32))
    onnx.save(model, path)
    optimised = open_runtime_graph(path, threads=1).model
    kernels = Interpreter(model).kernels
    assert ReferenceKernels(model, kernels).disagreements(optimised) == ()
    without = [kernel for kernel in kernels if kernel.op != "QLinearMatMul"]
    (reason, *_) = ReferenceKernels(model, without).disagreements(optimised)
    assert reason == "onnxruntime runs QLinearMatMul for y; kernels_ref has no such kernel"


@pytest.mark.parametrize("name", ["requantized", "w"])
def test_a_changed_constant_and_a_changed_input_are_named(name: str, tmp_path: Path):
    """Under another name, and under the name that the file has for other values."""
    path, model = tmp_path / "m.onnx", file_of(FUSED["a MatMul"][1], (5, 32))
    onnx.save(model, path)
    optimised = open_runtime_graph(path, threads=1).model
    plan = ReferenceKernels(model, Interpreter(model).kernels)
    (product,) = (node for node in optimised.graph.node if node.op_type == "QLinearMatMul")
    weight = next(tensor for tensor in optimised.graph.initializer if tensor.name == product.input[3])
    weight.name = product.input[3] = name
    weight.raw_data = bytes(reversed(weight.raw_data))
    reasons = plan.disagreements(optimised)
    assert "onnxruntime runs QLinearMatMul for y; kernels_ref gives it other inputs" in reasons
    assert any(f"onnxruntime made {name} (int8, [32, 24])" in reason for reason in reasons)


def test_where_sizes_are_fixed_another_kernel_and_another_constant_are_named_still(tmp_path: Path):
    """There movement is not told apart where the two disagree: all else is."""
    path, model = tmp_path / "m.onnx", file_of(FUSED["a MatMul"][1], (5, 32))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    optimised = open_runtime_graph(path, threads=1).model
    kernels = Interpreter(model).kernels
    assert ReferenceKernels(model, kernels).disagreements(optimised) == ()
    without = [kernel for kernel in kernels if kernel.op != "QLinearMatMul"]
    assert "kernels_ref has no such kernel" in ReferenceKernels(model, without).disagreements(optimised)[0]
    (product,) = (node for node in optimised.graph.node if node.op_type == "QLinearMatMul")
    weight = next(tensor for tensor in optimised.graph.initializer if tensor.name == product.input[3])
    weight.raw_data = bytes([*weight.raw_data[:-1], weight.raw_data[-1] ^ 1])
    reasons = ReferenceKernels(model, kernels).disagreements(optimised)
    assert "onnxruntime runs QLinearMatMul for y; kernels_ref gives it other inputs" in reasons


def test_weights_that_may_saturate_are_a_reason(tmp_path: Path):
    model = file_of(FUSED["a MatMul"][1], (5, 32))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(numpy_helper.from_array(np.where(SAFE > 0, 100, -100).astype(np.int8), "w"))
    report = verified(model, tmp_path / "m.onnx", (5, 32))
    assert report.verdict in ("equal on these inputs", "different")
    assert any("may saturate on x86 without VNNI" in reason for reason in report.disagreements)


def test_two_weights_of_minus_128_are_a_reason(tmp_path: Path):
    """On arm64 without dot products; small neighbours keep x86 safe."""
    weights = np.zeros_like(SAFE)
    weights[[2, 7], 3] = -128
    model = file_of(FUSED["a MatMul"][1], (5, 32))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(numpy_helper.from_array(weights, "w"))
    (reason,) = verified(model, tmp_path / "m.onnx", (5, 32)).disagreements
    assert "may saturate on arm64 without dot products" in reason


def test_codes_of_seven_bits_do_not_saturate(tmp_path: Path):
    """A Clip of the codes is known: weights of full 8 bits are safe behind it."""
    lines = ("QuantizeLinear x s z a8", "Clip a8 z0 most a", "DequantizeLinear a s z af", *FUSED["a MatMul"][1][2:])
    model = file_of(lines, (5, 32))
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(127), "most"))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(numpy_helper.from_array(np.where(SAFE > 0, 127, -127).astype(np.int8), "w"))
    report = verified(model, tmp_path / "m.onnx", (5, 32))
    assert report.verdict == "exact", report.reservations
