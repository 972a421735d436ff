"""The recipe: scales, zero points, weight codes, grids and the proof that they are exact."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Raised when a stored recipe changes its meaning.
VERSION = 1


@dataclass(frozen=True)
class ActivationQuant:
    """Uniform quantizer of one matmul operand or table input, `x = (code - zero_point) * scale`.

    Attributes:
        scale: float32 value, > 0.
        zero_point: code of 0, in [0, 255].
        low: smallest code used.
        high: largest code used.
        bits: bit-width of the code range.
        reason: why these numbers.
    """

    scale: float
    zero_point: int
    low: int = 0
    high: int = 255
    bits: int = 8
    reason: str = ""


@dataclass(frozen=True)
class WeightQuant:
    """Per-channel symmetric weight codes of one linear layer.

    Attributes:
        codes: int8 [N, K].
        scale: float32 [N]; weight = codes * scale.
        bits: bit-width of the codes.
        form: `pair_safe` (8 bits, |w[2i]| + |w[2i+1]| <= 128) or `narrow` (7 bits or fewer); see docs/design.md.
        reason: why these numbers.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bits: int
    form: str
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """One proved statement: `value` of `what` at `layer` stays on the safe side of `limit`."""

    layer: str
    what: str
    value: float
    limit: float


@dataclass
class Recipe:
    """All decisions of one export.

    Attributes:
        model: architecture, its arguments, and the hash of the weights.
        settings: bits, input type, preprocessing, calibration, versions.
        activations: quantizer of every site `layer.operand`.
        weights: codes of every linear layer and patch embedding.
        exponents: grid of every residual value: its float is an integer times `2 ** -exponent`.
        proof: filled when the ONNX file is emitted.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    activations: dict[str, ActivationQuant]
    weights: dict[str, WeightQuant]
    exponents: dict[str, int]
    proof: list[Claim] = field(default_factory=list)
