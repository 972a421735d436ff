"""Scales and zero points that belong to one axis of a tensor."""

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of
from kernels_ref.ops.types import Array


def along_axis(parameter: Array, x: Array, axis: int, block: int = 0) -> Array:
    """Shape a scale or zero point so that it broadcasts over `x`.

    Args:
        parameter: one element, or one for each index of `axis`.
        x: the tensor that is quantized.
        axis: the axis of `x`; negative counts from the end.
        block: how many indices of the axis share an index of the parameter, which then has as many axes as `x`; 0
            for one element, or one for each index.

    Returns:
        The parameter with no axis, or with as many axes as `x`.

    Raises:
        InterpreterError: the parameter does not fit the axis.
    """
    if block:
        return _blocks(parameter, x, axis, block)
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1 or not -x.ndim <= axis < x.ndim or x.shape[axis] != parameter.size:
        raise InterpreterError(
            f"a scale or zero point of shape {parameter.shape} does not fit axis {axis} of {x.shape}"
        )
    shape = [1] * x.ndim
    shape[axis] = parameter.size
    return parameter.reshape(shape)


def _blocks(parameter: Array, x: Array, axis: int, block: int) -> Array:
    place = axis_of(axis, x.ndim)
    sizes = list(x.shape)
    sizes[place] = -(-sizes[place] // block)
    if block < 0 or list(parameter.shape) != sizes:
        raise InterpreterError(
            f"a scale or zero point of shape {parameter.shape} does not fit axis {axis} of {x.shape}, blocks of {block}"
        )
    return np.asarray(np.take(parameter, np.arange(x.shape[place]) // block, axis=place))
