"""Scales and zero points that belong to one axis of a tensor."""

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array


def along_axis(parameter: Array, x: Array, axis: int) -> Array:
    """Shape a scale or zero point so that it broadcasts over `x`.

    Args:
        parameter: one element, or one for each index of `axis`.
        x: the tensor that is quantized.
        axis: the axis of `x`; negative counts from the end.

    Returns:
        The parameter with no axis, or with as many axes as `x`.

    Raises:
        InterpreterError: the parameter does not fit the axis (blocked quantization is not supported).
    """
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.ndim != 1 or not -x.ndim <= axis < x.ndim or x.shape[axis] != parameter.size:
        raise InterpreterError(
            f"a scale or zero point of shape {parameter.shape} does not fit axis {axis} of {x.shape}"
        )
    shape = [1] * x.ndim
    shape[axis] = parameter.size
    return parameter.reshape(shape)
