"""Rules about all operators."""

from collections.abc import Iterator

from mptq_export.profile.broadcasting import broadcast_inputs
from mptq_export.profile.implied import absent_inputs, unwritten_attributes
from mptq_export.profile.operators import RANDOM, REQUIRED, SPECIFIED, TRAINING
from mptq_export.profile.rule import Finding, at
from mptq_export.profile.view import ProfileView

#: Ops that reckon with all of their inputs, so that these must be of one type.
_ONE_TYPE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Mean", "Sum", "MatMul", "Gemm", "Conv", "Concat", "PRelu"}
    | {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Clip", "BitShift"}
    | {"BitwiseAnd", "BitwiseOr", "BitwiseXor"}
)


def known_operators(view: ProfileView) -> Iterator[Finding]:
    """Operators that the working group names."""
    for node in view.nodes:
        if node.domain not in ("", "ai.onnx"):
            yield at(node, f"an operator of {node.domain}, which is not ONNX")
        elif node.op_type not in REQUIRED | SPECIFIED:
            yield at(node, "the working group neither lists nor specifies this operator")


def deterministic(view: ProfileView) -> Iterator[Finding]:
    """No operator that draws."""
    for node in view.nodes:
        if node.op_type in RANDOM:
            yield at(node, "its result is drawn")


def inference(view: ProfileView) -> Iterator[Finding]:
    """No operator of training."""
    for node in view.nodes:
        if node.op_type in TRAINING or view.attribute(node, "training_mode", 0):
            yield at(node, "it belongs to training")


def attributes_written(view: ProfileView) -> Iterator[Finding]:
    """No default of an attribute."""
    for node in view.nodes:
        absent = list(unwritten_attributes(node, view))
        if absent:
            yield at(node, f"{', '.join(absent)} is not written" if len(absent) == 1 else f"{absent} are not written")


def inputs_given(view: ProfileView) -> Iterator[Finding]:
    """No optional input is left out."""
    for node in view.nodes:
        absent = [name for _, name in absent_inputs(node, view)]
        if absent:
            yield at(node, f"its input {', '.join(absent)} is left out")


def no_broadcasting(view: ProfileView) -> Iterator[Finding]:
    """Operands have the shape of the result."""
    for node in view.nodes:
        places = broadcast_inputs(node)
        shapes = [view.shapes.get(name) for name in node.input[places.start : places.stop]]
        result = view.shapes.get(node.output[0]) if node.output else None
        if places and any(shape != result for shape in shapes):
            yield at(node, f"operands of shapes {shapes} are broadcast to {result}")
        elif node.op_type == "MatMul" and _stacks(view, node.input[0]) != _stacks(view, node.input[1]):
            yield at(node, "stacks of matrices are broadcast")


def no_conversion(view: ProfileView) -> Iterator[Finding]:
    """Operands are of one type."""
    for node in view.nodes:
        kinds = {view.kinds.get(name, 0) for name in view.reads(node)} - {0}
        if node.op_type in _ONE_TYPE and len(kinds) > 1:
            yield at(node, "its operands are of several types")


def _stacks(view: ProfileView, name: str) -> list[int]:
    return view.shapes.get(name, [])[:-2]
