"""Transpose: the axes in another order."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, required
from kernels_ref.ops.types import Array


def transpose(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X with its axes as `perm` lists them; reversed when it lists none. A view.

    Args:
        inputs: x.
        attributes: `perm`.

    Raises:
        InterpreterError: perm is no order of the axes.
    """
    (x,) = required(inputs, 1)
    perm = [axis_of(axis, x.ndim) for axis in attributes.get("perm", range(x.ndim - 1, -1, -1))]
    if sorted(perm) != list(range(x.ndim)):
        raise InterpreterError(f"perm {perm} is no order of {x.ndim} axes")
    return (x.transpose(perm),)
