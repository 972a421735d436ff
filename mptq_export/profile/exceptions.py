"""Where files of this program do not obey a rule: each exception with its reason.

An exception is narrow: what else breaks the rule is a broken rule.
"""

from collections.abc import Callable

import onnx

from mptq_export.profile.rule import ProfileException
from mptq_export.profile.view import ProfileView

_Covers = Callable[[ProfileView, onnx.NodeProto], bool]


def _op(*names: str) -> _Covers:
    return lambda _view, node: node.op_type in names


def _unpacks_weights(view: ProfileView, node: onnx.NodeProto) -> bool:
    """An op on what is stored, of those that packed weights are unpacked with."""
    ops = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "CumSum", "ScatterElements")
    return node.op_type in ops and set(node.output) <= view.constant_names


def _two_stacks(view: ProfileView, node: onnx.NodeProto) -> bool:
    """A product of two stacks of matrices, as many in each."""
    shapes = [view.sizes(name) for name in node.input]
    if any(shape is None or len(shape) < 3 for shape in shapes):
        return False
    left, right = (shape[:-2] for shape in shapes if shape is not None)
    return left == right


def _codes_of_a_byte(view: ProfileView, node: onnx.NodeProto) -> bool:
    kinds = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
    return view.kinds.get(node.input[0]) in kinds and view.kinds.get(node.output[0]) == onnx.TensorProto.FLOAT


def _of_channels(view: ProfileView, node: onnx.NodeProto) -> bool:
    """Stored codes of weights or of a bias, with a scale a channel."""
    scale = view.shapes.get(node.input[1], [])
    return len(scale) == 1 and set(node.output) <= view.constant_names


EXCEPTIONS: tuple[ProfileException, ...] = (
    ProfileException(
        "Gelu",
        "O1",
        "Gelu is no listed operator (the group's scope.md names it in a use case)",
        "written with Erf it would be five ops on floats that the proof has no margin for; as one op its result is "
        "held to a margin and then rounded to codes",
        _op("Gelu"),
    ),
    ProfileException(
        "ReduceMax",
        "O1",
        "ReduceMax is no listed operator",
        "a softmax whose bits are the same everywhere needs the largest score of a row, which rounds nothing; the "
        "listed Max takes tensors of one shape",
        _op("ReduceMax"),
    ),
    ProfileException(
        "Round",
        "O1",
        "Round is no listed operator",
        "residuals are whole numbers of grid steps: rounding to them, half to even, is what makes their sums exact",
        _op("Round"),
    ),
    ProfileException(
        "packed weights",
        "O1",
        "bit operations, CumSum and ScatterElements on stored codes are no listed operators",
        "they hold weights below 8 bits at their own width; --weight-storage int8 has none of them",
        _unpacks_weights,
    ),
    ProfileException(
        "stacked products",
        "R7",
        "both operands of a product of activations have a matrix for each head and image (or window)",
        "with two axes each it would be a node for each head and image, and as many kernels; nothing is broadcast",
        _two_stacks,
    ),
    ProfileException(
        "codes of a byte",
        "R9",
        "uint8 and int8 codes are dequantized too",
        "the specification has int32 alone so far; these are the codes of activations and weights, and onnxruntime's "
        "integer kernels are fused from them",
        _codes_of_a_byte,
    ),
    ProfileException(
        "scales of channels",
        "R10",
        "stored codes of weights and biases have a scale for each output channel",
        "the specification calls the restriction transient; one scale for all channels would be another model",
        _of_channels,
    ),
)
