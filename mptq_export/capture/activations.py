"""Activation functions: element-wise, of one argument. A record holds all that is known of a function."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from scipy.special import expit

from mptq_export.capture.function_names import Function

Floats = NDArray[np.float64]

aten = torch.ops.aten


@dataclass(frozen=True)
class ActivationFunction:
    """One function.

    Attributes:
        compute: the function in torch, in the type of its argument, of any shape.
        exact: the function in float64, of float64 [N]; certificates rest on it.
        aten: the ATen ops that it is.
        approximate: what ATen's and ONNX's Gelu have as `approximate`; `none` for other functions too.
        slope: of a function `x * sigmoid(slope * x)`; None for others.
    """

    compute: Callable[[torch.Tensor], torch.Tensor]
    exact: Callable[[Floats], Floats]
    aten: tuple[torch._ops.OpOverload, ...] = ()
    approximate: Literal["none", "tanh"] = "none"
    slope: float | None = None


def _gelu(x: Floats) -> Floats:
    """`x (1 + erf(x / sqrt 2)) / 2`, without cancellation."""
    return np.asarray([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


def _gelu_tanh(x: Floats) -> Floats:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)))


def _sigmoid_weighted(slope: float, *aten: torch._ops.OpOverload) -> ActivationFunction:
    """`x * sigmoid(slope * x) = x / (1 + e^(-slope * x))`."""
    return ActivationFunction(
        lambda x: x * torch.sigmoid(x * slope), lambda x: np.asarray(x * expit(slope * x)), aten, slope=slope
    )


FUNCTIONS: dict[Function, ActivationFunction] = {
    "gelu": ActivationFunction(F.gelu, _gelu, (aten.gelu.default,)),
    "gelu_tanh": ActivationFunction(
        lambda x: F.gelu(x, approximate="tanh"), _gelu_tanh, (aten.gelu.default,), approximate="tanh"
    ),
    "silu": _sigmoid_weighted(1.0, aten.silu.default, aten.silu_.default),
    "quick_gelu": _sigmoid_weighted(1.702),
    "sigmoid": ActivationFunction(
        torch.sigmoid, lambda x: np.asarray(expit(x)), (aten.sigmoid.default, aten.sigmoid_.default)
    ),
    "tanh": ActivationFunction(torch.tanh, np.tanh, (aten.tanh.default,)),
    "hardswish": ActivationFunction(
        F.hardswish,
        lambda x: np.asarray(x * np.clip(x + 3, 0, 6) / 6),
        (aten.hardswish.default, aten.hardswish_.default),
    ),
    "relu": ActivationFunction(F.relu, lambda x: np.maximum(x, 0)),  # in the portable form
}
"""Every function by its name."""
