"""QLinearGlobalAveragePool and QLinearAveragePool: averages of codes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.pool import pool_windows
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import quantized, target


def qlinear_global_average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`rint(sum of (x - zero_x) (scale_x / (scale_y n))) + zero_y` over the n elements of an image, float32.

    Args:
        inputs: x (N, C, sizes), its scale and zero point; the result's scale and zero point.
        attributes: `channels_last` (0).

    Raises:
        InterpreterError: the inputs are not 8-bit codes with one scale, or x is not an image.
    """
    x = quantized(inputs, 0)
    y = target(inputs, 3, x.codes.dtype)
    if x.codes.ndim < 3:
        raise InterpreterError(f"x has shape {x.codes.shape}; it must have channels and sizes")
    axes = tuple(range(1, x.codes.ndim - 1) if attributes.get("channels_last", 0) else range(2, x.codes.ndim))
    count = math.prod(x.codes.shape[axis] for axis in axes)
    total = x.codes.sum(axis=axes, keepdims=True, dtype=np.int64) - int(x.zero) * count
    factor = x.scale / (y.scale * np.float32(count))
    return (y.saturate(np.rint(total.astype(np.float32) * factor) + y.zero),)


def qlinear_average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The codes of the average of `scale_x (x - zero_x)` over a window, `rint(average / scale_y + zero_y)`.

    The float32 sum runs over a window's rows, first to last. Every step is float32.

    Args:
        inputs: as of `qlinear_global_average_pool`.
        attributes: as of AveragePool, and `channels_last` (0).

    Raises:
        InterpreterError: likewise, or the window does not fit.
    """
    x = quantized(inputs, 0)
    y = target(inputs, 3, x.codes.dtype)
    if attributes.get("channels_last", 0):
        raise InterpreterError("channels_last is not supported")
    # NaN marks the margin, which adds nothing.
    windows, size = pool_windows(x.scale * x.centred, attributes, np.nan)
    inside = ~np.isnan(windows)
    total = np.zeros(windows.shape[:-1], np.float32)
    for i in range(windows.shape[-1]):
        total += np.where(inside[..., i], windows[..., i], np.float32(0))
    counts = size if attributes.get("count_include_pad", 0) else inside.sum(axis=-1)
    average = total / np.asarray(counts, np.float32)
    return (y.saturate(np.rint(average / y.scale + y.zero)),)
