"""Residual streams: sums on a power-of-two grid, so that they are exact in float32 in any order.

A stream r is kept as r + 1.5 * 2^23. Float32 numbers there are 1 apart, so that the addition of what a layer writes is
also its rounding to the grid (half to even, like any addition), and the exact difference gives r to the norms. Where
the worst case is too large for that, `Round` snaps the sum.
"""

from dataclasses import replace

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Add, Constant, Mean, Pad
from mptq_export.emit.builder import DOUBLE, FLOAT
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.grid import FAR_ABOVE, has_exact_squares
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, FLOAT64_INTEGER, Quantity
from mptq_export.emit.exact.values import Floats
from mptq_export.quantize.simulation.simulate import SHIFT

#: How far float32 numbers that are 1 apart reach on both sides of `SHIFT`.
REACH = 2.0**22


def emit_add(context: Context, node: Node, exponent: int, *, reach: float = REACH) -> Floats:
    """Sum of two values, or of a value and a constant.

    Args:
        context: the emission.
        node: the addition.
        exponent: of the sum.
        reach: worst case of a stream, in grid steps, from which `Round` snaps it.
    """
    live = [name for name in node.inputs if not isinstance(context.graph[name].op, Constant)]
    terms = [_term(context, name, exponent) for name in live]
    if len(terms) == 2:
        if terms[0].flat != terms[1].flat:
            terms = [context.flatten(term, name) for term, name in zip(terms, live, strict=True)]
        return _sum(context, node, terms, exponent, reach)
    total = terms[0]
    for source in (context.graph[name] for name in node.inputs if name not in live):
        full = context.unflatten(total, live[0])
        value = source.params["value"].double().numpy() * 2.0**exponent
        table = context.onnx.constant(f"{node.name}.constant", value.astype(np.float32))
        tensor = context.onnx.one("Add", [full.tensor, table], f"{node.name}.plus_constant")
        bound = total.bound + float(np.abs(value).max())
        total = Floats(tensor=tensor, exponent=exponent, bound=bound, flat=False)
    return total


def _term(context: Context, name: str, exponent: int) -> Floats:
    """What is added: whole numbers where it is on the grid of the sum already."""
    on_grid = context.recipe.exponents.get(name) == exponent and isinstance(context.graph.root(name).op, Add | Pad)
    return context.read_integers(name) if on_grid else context.read_floats(name, exponent)


def _sum(context: Context, node: Node, terms: list[Floats], exponent: int, reach: float) -> Floats:
    first, second = terms
    if context.recipe.exponents.get(node.name) == exponent and first.integer != second.integer:
        stream, update = terms if first.integer else terms[::-1]
        snapped = _snapped_sum(context, node, stream, update, reach)
        if snapped is not None:
            return snapped
    tensor = context.onnx.one("Add", [first.tensor, second.tensor], f"{node.name}.x{exponent}")
    bound, integer = first.bound + second.bound, first.integer and second.integer
    return Floats(tensor=tensor, exponent=exponent, bound=bound, integer=integer, flat=first.flat)


def _snapped_sum(context: Context, node: Node, stream: Floats, update: Floats, reach: float) -> Floats | None:
    """The sum on the stream's grid by one addition; None where its worst case is too large."""
    bound = stream.bound + float(np.floor(update.bound + 1))
    if bound >= reach or not has_exact_squares(node.shape.dims[-1], bound):
        return None
    onnx, shift = context.onnx, context.onnx.scalar(SHIFT)
    context.proof.claim(node.name, Quantity.RESIDUAL, bound, reach, advice=FAR_ABOVE)
    shifted = context.shifted.get(stream.tensor)
    shifted = shifted or onnx.one("Add", [stream.tensor, shift], f"{stream.tensor}.shifted")
    total = onnx.one("Add", [shifted, update.tensor], f"{node.name}.shifted")
    result = onnx.one("Sub", [total, shift], f"{node.name}.grid")
    context.shifted[result] = total
    return replace(stream, tensor=result, bound=bound)


def emit_pad(context: Context, node: Node, exponent: int) -> Floats:
    """Zero rows before and after the tokens."""
    source = context.unflatten(context.read_floats(node.inputs[0], exponent), node.inputs[0])
    pad, rank = node.attributes(Pad), len(node.shape.dims)
    pads = [0] * (2 * rank)
    pads[pad.axis], pads[rank + pad.axis] = pad.before, pad.after
    tensor = context.onnx.one("Pad", [source.tensor, context.onnx.shape(pads)], f"{node.name}.x{exponent}")
    return replace(source, tensor=tensor)


def emit_mean(context: Context, node: Node, exponent: int) -> Floats:
    """Exact sum over tokens, divided afterwards."""
    onnx, mean = context.onnx, node.attributes(Mean)
    source = context.unflatten(context.read_integers(node.inputs[0]), node.inputs[0])
    dims = context.graph[node.inputs[0]].shape.dims
    count = int(np.prod([dims[a] for a in mean.axes]))
    total = source.tensor
    in_double = count * source.bound > FLOAT32_INTEGER
    if in_double:
        total = onnx.one("Cast", [total], f"{node.name}.f64", to=DOUBLE)
    limits = (Quantity.TOKENS_FLOAT64, FLOAT64_INTEGER) if in_double else (Quantity.TOKENS_FLOAT32, FLOAT32_INTEGER)
    context.proof.claim(node.name, limits[0], count * source.bound, limits[1], advice=FAR_ABOVE)
    axes = onnx.shape(list(mean.axes))
    total = onnx.one("ReduceSum", [total, axes], f"{node.name}.sum", keepdims=int(mean.keepdim))
    if in_double:
        total = onnx.one("Cast", [total], f"{node.name}.f32", to=FLOAT)
    factor = 2.0 ** (exponent - source.exponent) / count
    result = onnx.one("Mul", [total, onnx.scalar(factor)], node.name)
    bound = source.bound * 2.0 ** (exponent - source.exponent) * 1.001
    return Floats(tensor=result, exponent=exponent, bound=bound, flat=False)
