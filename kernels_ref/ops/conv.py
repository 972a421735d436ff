"""Conv: convolution."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import optional, required
from kernels_ref.ops.margins import margins
from kernels_ref.ops.types import Array


def conv(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Each output channel: the sum over its group's channels and the kernel of `x * w`, plus a bias.

    The windows become rows of a matrix. The order of a float sum is BLAS's: exact only where the sums are.

    Args:
        inputs: x (N, C, sizes); w (M, C / group, kernel); bias (M,) (optional); floats of one type.
        attributes: `strides` and `dilations` (1), `pads` (0; all before, then all after), `auto_pad` ("NOTSET"),
            `group` (1).

    Raises:
        InterpreterError: the channels or types do not fit, or the kernel does not fit into x.
    """
    x, w = required(inputs, 2)
    bias, group, spatial = optional(inputs, 2), attributes.get("group", 1), x.ndim - 2
    if x.dtype.kind != "f" or w.dtype != x.dtype or spatial < 1 or w.ndim != x.ndim:
        raise InterpreterError("x and w must be of one float type and as many axes")
    if x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise InterpreterError(f"{x.shape[1]} channels in {group} groups do not fit weights {w.shape}")
    strides = attributes.get("strides", [1] * spatial)
    dilations = attributes.get("dilations", [1] * spatial)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(w.shape[2:], dilations, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *margins(x.shape[2:], reach, strides, attributes)])
    if any(size < window for size, window in zip(x.shape[2:], reach, strict=True)):
        raise InterpreterError(f"the kernel {w.shape[2:]} does not fit into {x.shape[2:]}")
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = [*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations)]
    windows = windows[(slice(None), slice(None), *steps)]
    sizes = windows.shape[2 : 2 + spatial]
    # (N, group, C / group, sizes, kernel) -> (N, group, sizes, C / group, kernel)
    windows = np.moveaxis(windows.reshape(x.shape[0], group, w.shape[1], *windows.shape[2:]), 2, 2 + spatial)
    rows = windows.reshape(x.shape[0], group, math.prod(sizes), math.prod(w.shape[1:]))
    y = w.reshape(group, w.shape[0] // group, -1) @ rows.swapaxes(-1, -2)
    y = y.reshape(x.shape[0], w.shape[0], *sizes)
    return (y if bias is None else y + bias.reshape(-1, *[1] * spatial),)
