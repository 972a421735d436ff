"""Which inputs of an op ONNX repeats in silence to the shape of the result."""

import onnx

#: Ops whose inputs are all broadcast together.
_ALL = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Mean", "Sum", "Where", "PRelu"}
    | {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"}
    | {"BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"}
)


def broadcast_inputs(node: onnx.NodeProto) -> range:
    """Places of the inputs that must have the shape of the result where nothing is broadcast.

    The bias of a Gemm and stacks of a MatMul are not among them: rules of their own are about these.
    """
    return range(len(node.input)) if node.op_type in _ALL else range(0)
