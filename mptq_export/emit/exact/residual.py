"""Residual streams: sums on a power-of-two grid, so that they are exact in float32 in any order.

A stream r is kept as r + 1.5 * 2^23. Float32 numbers there are 1 apart, so that the addition of what a layer writes is
also its rounding to the grid (half to even, like any addition), and the exact difference gives r to the norms. Where
the worst case is too large for that, `Round` snaps the sum.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Add, Constant, Mean, Pad
from mptq_export.emit.builder import DOUBLE, FLOAT
from mptq_export.emit.exact.forms import Floats
from mptq_export.emit.exact.proof import FLOAT32_INTEGER, FLOAT64_INTEGER
from mptq_export.quantize.simulation.simulate import SHIFT

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter

#: Most grid steps that a residual keeps where its worst case has to be cut, and the fewest: the calibrated range.
CLIP, LEAST_CLIP = float(2**20), float(2**15)

#: How far float32 numbers that are 1 apart reach on both sides of `SHIFT`.
REACH = 2.0**22

#: By how much rounding to float32 can enlarge a square.
SQUARE_ROUNDING = 1 + 2.0**-23

_ADVICE = "its worst case is far above the calibrated range; check the checkpoint for extreme weights"


def snap(emitter: "Emitter", x: Floats, name: str) -> Floats:
    """Round to the grid (half to even); the result is an exact float32 integer.

    Where the worst case of all layers so far is too large for float32, or for an exact sum of squares, the residual is
    clipped to `CLIP` steps: 32 times the calibrated range, which no image is meant to reach. A group norm may leave
    room for less.
    """
    tensor = emitter.onnx.one("Round", [x.tensor], f"{name}.grid")
    bound = float(np.floor(x.bound + 1))
    if bound > FLOAT32_INTEGER or not has_exact_squares(emitter, name, bound):
        bound = CLIP
        while bound > LEAST_CLIP and not has_exact_squares(emitter, name, bound):
            bound /= 2
        limits = [emitter.onnx.scalar(limit) for limit in (-bound, bound)]
        tensor = emitter.onnx.one("Clip", [tensor, *limits], f"{name}.clipped")
    emitter.proof.at_most(name, "residual in grid steps", bound, FLOAT32_INTEGER, _ADVICE)
    return replace(x, tensor=tensor, bound=bound, integer=True)


def has_exact_squares(emitter: "Emitter", name: str, bound: float) -> bool:
    """Whether the sum of squares of a row of whole numbers, and what its variance is made of, are exact in float64."""
    return emitter.graph[name].shape.dims[-1] * (bound + 1) ** 2 * SQUARE_ROUNDING <= FLOAT64_INTEGER


def _snapped_sum(emitter: "Emitter", node: Node, stream: Floats, update: Floats) -> Floats | None:
    """The sum on the stream's grid by one addition; None where its worst case is too large."""
    bound = stream.bound + float(np.floor(update.bound + 1))
    if bound >= REACH or not has_exact_squares(emitter, node.name, bound):
        return None
    onnx, shift = emitter.onnx, emitter.onnx.scalar(SHIFT)
    emitter.proof.at_most(node.name, "residual in grid steps", bound, REACH, _ADVICE)
    shifted = emitter.shifted.get(stream.tensor)
    shifted = shifted or onnx.one("Add", [stream.tensor, shift], f"{stream.tensor}.shifted")
    total = onnx.one("Add", [shifted, update.tensor], f"{node.name}.shifted")
    result = onnx.one("Sub", [total, shift], f"{node.name}.grid")
    emitter.shifted[result] = total
    return replace(stream, tensor=result, bound=bound)


def emit_add(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Sum of two values; operands on the stream are integers already, what is added to them is not."""
    parts: list[Floats] = []
    owners: list[str] = []
    constants: list[np.ndarray] = []
    for name in node.inputs:
        source = emitter.graph[name]
        if isinstance(source.op, Constant):
            constants.append(source.params["value"].double().numpy() * 2.0**exponent)
            continue
        on_grid = emitter.recipe.exponents.get(name) == exponent and isinstance(emitter.graph.root(name).op, Add | Pad)
        parts.append(emitter.floats(name, None if on_grid else exponent))
        owners.append(name)
    result = parts[0]
    if len(parts) == 2:
        if parts[0].flat != parts[1].flat:
            parts = [emitter.flat(p, o) for p, o in zip(parts, owners, strict=True)]
        if emitter.recipe.exponents.get(node.name) == exponent and parts[0].integer != parts[1].integer:
            stream, update = parts if parts[0].integer else parts[::-1]
            snapped = _snapped_sum(emitter, node, stream, update)
            if snapped is not None:
                return snapped
        tensor = emitter.onnx.one("Add", [parts[0].tensor, parts[1].tensor], f"{node.name}.x{exponent}")
        result = Floats(tensor, exponent, parts[0].bound + parts[1].bound, all(p.integer for p in parts), parts[0].flat)
    for value in constants:
        full = emitter.full(result, owners[0])
        table = emitter.onnx.constant(f"{node.name}.constant", value.astype(np.float32))
        tensor = emitter.onnx.one("Add", [full.tensor, table], f"{node.name}.plus_constant")
        bound = result.bound + float(np.abs(value).max())
        result = Floats(tensor, exponent, bound, integer=False, flat=False)
    return result


def emit_pad(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Zero rows before and after the tokens."""
    source = emitter.full(emitter.floats(node.inputs[0], exponent), node.inputs[0])
    pad, rank = node.attributes(Pad), len(node.shape.dims)
    pads = [0] * (2 * rank)
    pads[pad.axis], pads[rank + pad.axis] = pad.before, pad.after
    tensor = emitter.onnx.one("Pad", [source.tensor, emitter.onnx.shape(pads)], f"{node.name}.x{exponent}")
    return replace(source, tensor=tensor)


def emit_mean(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Exact sum over tokens, divided afterwards."""
    onnx, mean = emitter.onnx, node.attributes(Mean)
    source = emitter.full(emitter.floats(node.inputs[0], None), node.inputs[0])
    dims = emitter.graph[node.inputs[0]].shape.dims
    count = int(np.prod([dims[a] for a in mean.axes]))
    total = source.tensor
    in_double = count * source.bound > FLOAT32_INTEGER
    if in_double:
        total = onnx.one("Cast", [total], f"{node.name}.f64", to=DOUBLE)
        emitter.proof.at_most(node.name, "float64 sum of tokens", count * source.bound, FLOAT64_INTEGER, _ADVICE)
    else:
        emitter.proof.at_most(node.name, "float32 sum of tokens", count * source.bound, FLOAT32_INTEGER, _ADVICE)
    axes = onnx.shape(list(mean.axes))
    total = onnx.one("ReduceSum", [total, axes], f"{node.name}.sum", keepdims=int(mean.keepdim))
    if in_double:
        total = onnx.one("Cast", [total], f"{node.name}.f32", to=FLOAT)
    factor = 2.0 ** (exponent - source.exponent) / count
    result = onnx.one("Mul", [total, onnx.scalar(factor)], node.name)
    return Floats(
        result, exponent, source.bound * 2.0 ** (exponent - source.exponent) * 1.001, integer=False, flat=False
    )
