"""Split: a tensor in pieces."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, optional, required
from kernels_ref.ops.types import Array


def split(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Pieces along an axis: of the given sizes, else of one size, where only the last may be smaller. Views.

    Args:
        inputs: x; the sizes (optional).
        attributes: `axis` (0), `num_outputs` (the number of outputs of the node).

    Raises:
        InterpreterError: the sizes do not add up.
    """
    (x,) = required(inputs, 1)
    axis, given = axis_of(attributes.get("axis", 0), x.ndim), optional(inputs, 1)
    length = x.shape[axis]
    if given is not None:
        sizes = integers(given, "split")
    else:
        count = attributes.get("num_outputs", attributes["n_outputs"])
        size = -(-length // count)
        sizes = [max(0, min(size, length - index * size)) for index in range(count)]
    if sum(sizes) != length or min(sizes, default=0) < 0 or len(sizes) != attributes["n_outputs"]:
        raise InterpreterError(f"{length} elements cannot be split into {attributes['n_outputs']} pieces of {sizes}")
    before = (slice(None),) * axis
    ends = list(accumulate(sizes))
    return tuple(x[(*before, slice(end - size, end))] for size, end in zip(sizes, ends, strict=True))
