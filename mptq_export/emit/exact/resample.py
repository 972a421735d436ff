"""Resizing: what each result reads first, second ... is gathered, weighted and added up, in float32.

Every product and sum rounds single elements, as IEEE 754 says, and their order is that of the nodes: the same bits
everywhere, for any ratio of sizes.
"""

import math

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Resample
from mptq_export.capture.taps import taps
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.values import Floats
from mptq_export.support.errors import MptqError

#: By how much float32 rounding can enlarge a sum of a few products.
_ROUNDING = 1 + 2.0**-16


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """The weighted sums, in units of 2 ** -exponent."""
    onnx, axis, weight = context.onnx, node.attributes(Resample).axis, node.params["weight"]
    source = context.unflatten(context.read_floats(node.inputs[0], exponent), node.inputs[0])
    if not math.isfinite(source.bound):  # an infinity times 0
        raise MptqError(f"{node.name}: what is made of the image alone is resized here; give the model resized images")
    column = [-1 if each == axis else 1 for each in range(len(node.shape.dims))]
    total = ""
    for position, (index, factor) in enumerate(taps(weight)):
        name = f"{node.name}.tap{position}"
        rows = onnx.constant(f"{name}.rows", index.numpy().astype(np.int64))
        part = onnx.one("Gather", [source.tensor, rows], f"{name}.x{exponent}", axis=axis)
        if bool((factor != 1).any()):
            factors = onnx.constant(f"{name}.factor", factor.numpy().astype(np.float32).reshape(column))
            part = onnx.one("Mul", [part, factors], f"{name}.weighted{exponent}")
        total = onnx.one("Add", [total, part], f"{node.name}.sum{position}.x{exponent}") if total else part
    bound = source.bound * float(weight.abs().sum(1).max()) * _ROUNDING
    return Floats(tensor=total, exponent=exponent, bound=bound, flat=False)
