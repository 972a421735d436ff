"""Windows of an image: MaxPool, AveragePool, GlobalAveragePool."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.margins import margins
from kernels_ref.ops.types import Array


def pool_windows(x: Array, attributes: Mapping[str, Any], margin: float) -> tuple[Array, int]:
    """Every window of an image, its elements in order.

    Args:
        x: (N, C, sizes).
        attributes: `kernel_shape`, `strides` and `dilations` (1), `pads` (0), `auto_pad` ("NOTSET"), `ceil_mode` (0).
        margin: what stands around the image.

    Returns:
        The windows (N, C, sizes, elements), and the number of elements.

    Raises:
        InterpreterError: the window does not fit the image, or the sizes are rounded up.
    """
    kernel = attributes.get("kernel_shape", [])
    if len(kernel) != x.ndim - 2 or not kernel or min(kernel) < 1:
        raise InterpreterError(f"a window {kernel} does not fit an image of shape {x.shape}")
    if attributes.get("ceil_mode", 0) or attributes.get("storage_order", 0):
        raise InterpreterError("sizes that are rounded up are not supported")
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    padding = [(0, 0), (0, 0), *margins(x.shape[2:], reach, strides, attributes)]
    x = np.pad(x, padding, constant_values=margin)
    if any(size < window for size, window in zip(x.shape[2:], reach, strict=True)):
        raise InterpreterError(f"the window {kernel} does not fit into {x.shape[2:]}")
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = [*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations)]
    windows = windows[(slice(None), slice(None), *steps)]
    count = math.prod(kernel)
    return windows.reshape(*windows.shape[: x.ndim], count), count


def max_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The greatest element of every window.

    Args:
        inputs: x (N, C, sizes): floats or 8-bit codes.
        attributes: as of `pool_windows`.

    Raises:
        InterpreterError: likewise, or the places of the maxima are wanted.
    """
    (x,) = same_type(inputs, 1, kinds="fiu")
    if attributes.get("n_outputs", 1) > 1:
        raise InterpreterError("the places of the maxima are not supported")
    least = np.array(-np.inf, x.dtype) if x.dtype.kind == "f" else np.array(np.iinfo(x.dtype).min, x.dtype)
    return (pool_windows(x, attributes, least.item())[0].max(axis=-1),)


def average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The average of every window, in float64 and rounded once: a runtime's sum differs in the last bits.

    Args:
        inputs: x (N, C, sizes), floats.
        attributes: as of `pool_windows`, and `count_include_pad` (0).

    Raises:
        InterpreterError: likewise.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    ones, size = pool_windows(np.ones_like(x, np.float64), attributes, 0.0)
    windows, _ = pool_windows(x.astype(np.float64), attributes, 0.0)
    counts = size if attributes.get("count_include_pad", 0) else ones.sum(axis=-1)
    return (np.asarray((windows.sum(axis=-1) / counts).astype(x.dtype)),)


def global_average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The average of an image, in float64 and rounded once: a runtime's sum differs in the last bits.

    Args:
        inputs: x (N, C, sizes), floats.
        attributes: none.

    Raises:
        InterpreterError: x is no image of floats.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    if x.ndim < 3:
        raise InterpreterError(f"x has shape {x.shape}; it must have channels and sizes")
    mean = x.mean(axis=tuple(range(2, x.ndim)), keepdims=True, dtype=np.float64)
    return (np.asarray(mean.astype(x.dtype)),)
