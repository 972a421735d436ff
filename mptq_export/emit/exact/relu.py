"""ReLU: of codes a limit, that most quantizers have already; of floats exact, as `x / 2 + |x / 2|`.

Quantizing is monotone and 0 has a code, so that the code of `max(x, 0)` is that of x, or that of 0 where it is larger:
the quantizer of what a ReLU gives, whose lowest code is that of 0, makes both at once of what the ReLU reads.
"""

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Activation, Constant, Input, Linear, Matmul, PatchEmbed, Relu, Softmax
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode_floats
from mptq_export.emit.exact.quantizer import clip
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.movement import move
from mptq_export.recipe.schema import ActivationQuant

#: What gives codes of a quantizer of its own, or other numbers than codes.
_NEVER_THROUGH = Activation | Constant | Input | Matmul | Softmax | Relu


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of what the ReLU reads, cut off below that of 0."""
    root, chain = context.graph.path(node.inputs[0])
    if isinstance(root.op, _NEVER_THROUGH):
        return encode_floats(context, node, quant, key)
    emitted = context.handler(context.tables.codes, root, "codes")(context, root, quant, key)
    moved = move(context, emitted, root, chain, zero=quant.zero_point)
    if quant.zero_point <= moved.low:
        return moved
    tensor = clip(context.onnx, moved.tensor, quant.zero_point, 255, f"{key}.positive")
    return Codes(tensor=tensor, scale=moved.scale, zero_point=moved.zero_point, high=moved.high, flat=moved.flat)


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The floats. `Max` and `Relu` may give either sign of a zero; a sum with the magnitude gives none."""
    of_layer = isinstance(context.graph.root(node.inputs[0]).op, Linear | PatchEmbed)  # halved by its scales
    source = context.read_floats(node.inputs[0], exponent - 1 if of_layer else exponent)
    onnx, name = context.onnx, f"{node.name}.x{exponent}"
    magnitude = onnx.one("Abs", [source.tensor], f"{name}.magnitude")
    tensor = onnx.one("Add", [source.tensor, magnitude], name if of_layer else f"{name}.doubled")
    if not of_layer:
        tensor = onnx.one("Mul", [tensor, onnx.scalar(0.5)], name)
    bound = source.bound * (2 if of_layer else 1)
    return Floats(tensor=tensor, exponent=exponent, bound=bound, flat=source.flat)
