"""What ops ask of their inputs."""

from collections.abc import Sequence

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array


def required(inputs: Sequence[Array | None], count: int) -> list[Array]:
    """The first `count` inputs.

    Raises:
        InterpreterError: one of them is missing.
    """
    present = [x for x in inputs[:count] if x is not None]
    if len(present) < count:
        raise InterpreterError(f"{count} inputs are required")
    return present


def optional(inputs: Sequence[Array | None], index: int) -> Array | None:
    """The input at `index`, or None where it is left out."""
    return inputs[index] if len(inputs) > index else None


def same_type(inputs: Sequence[Array | None], count: int | None = None, *, kinds: str = "") -> list[Array]:
    """Inputs that must have one type; NumPy would widen them silently.

    Args:
        inputs: the inputs of a node.
        count: how many there are; any number when left out.
        kinds: allowed kinds of type, as in `numpy.dtype.kind`; all when empty.

    Raises:
        InterpreterError: an input is missing, the types differ, or are not of an allowed kind.
    """
    if count is not None and len(inputs) > count:
        raise InterpreterError(f"{len(inputs)} inputs where there are {count}")
    arrays = required(inputs, len(inputs) if count is None else count)
    if not arrays:
        raise InterpreterError("an input is required")
    dtype = arrays[0].dtype
    if any(x.dtype != dtype for x in arrays[1:]):
        types = sorted({x.dtype.name for x in arrays})
        raise InterpreterError(f"the inputs have different types: {', '.join(types)}")
    if kinds and dtype.kind not in kinds:
        raise InterpreterError(f"inputs of type {dtype.name} are not supported")
    return arrays


def integers(x: Array, what: str) -> list[int]:
    """A list of integers that came as a tensor of no or one axis.

    Raises:
        InterpreterError: the tensor holds no integers, or has more axes.
    """
    if x.dtype.kind not in "iu" or x.ndim > 1:
        raise InterpreterError(f"{what} must be a list of integers; they are {x.dtype} of shape {x.shape}")
    return [int(value) for value in np.atleast_1d(x)]


def axis_of(axis: int, ndim: int) -> int:
    """An axis counted from the front.

    Raises:
        InterpreterError: there is no such axis.
    """
    if not -ndim <= axis < ndim:
        raise InterpreterError(f"axis {axis} does not exist among {ndim}")
    return axis % ndim
