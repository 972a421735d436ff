"""The recipe: scales, zero points, weight codes, grids and the proof that they are exact."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Raised when a stored recipe changes its meaning.
VERSION = 2
#: Setting with what the calibration inputs warned of, a list of sentences; absent where there was nothing.
CALIBRATION_WARNINGS = "calibration_warnings"


@dataclass(frozen=True)
class Region:
    """A run of levels `zero_point + (k << shift)`; it starts where the region before it ends.

    Attributes:
        shift: m of the scale ratio `2 ** m` to the finest region.
        last: its last level, a code of the fine grid.
    """

    shift: int
    last: int


@dataclass(frozen=True)
class ActivationQuant:
    """Quantizer of one matmul operand or table input, `x = (code - zero_point) * scale`.

    Attributes:
        scale: float32 value, > 0.
        zero_point: code of 0, in [0, 255].
        low: smallest code used.
        high: largest code used.
        bits: bit-width of the code range.
        reason: why these numbers.
        regions: OPT-m: the levels between `low` and `high`, in order; empty where every code is a level.
    """

    scale: float
    zero_point: int
    low: int = 0
    high: int = 255
    bits: int = 8
    reason: str = ""
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class WeightQuant:
    """Per-channel symmetric weight codes of one linear layer.

    Attributes:
        codes: int8 [N, K].
        scale: float32 [N]; weight = codes * scale.
        bias: float32 [N].
        bits: bit-width of the codes.
        form: `pair_safe` (8 bits, |w[2i]| + |w[2i+1]| <= 128) or `narrow` (7 bits or fewer); see docs/design.md.
        reason: why these numbers.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    bits: int
    form: str
    reason: str = ""


@dataclass(frozen=True)
class Smoothing:
    """SQ-b of one layer norm: its readers see `(x - shift) / scale`.

    Attributes:
        shift: b, float64 [D], in units of the layer norm's output.
        scale: s, float64 [D], > 0.
        strength: exponent a of the activation range; 0 where smoothing is off.
        reason: the errors that decided.
    """

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    strength: float
    reason: str = ""


#: Bit-widths that codes can have.
WIDTHS = range(2, 9)

#: How a claim's value stands to its limit.
RELATIONS = ("at most", "at least")


@dataclass(frozen=True)
class Claim:
    """One proved statement: `value` of `what` at `layer` is `relation` `limit`.

    Attributes:
        layer: where.
        what: the bound or margin.
        value: the worst that it can be.
        limit: what it must not pass.
        relation: `at most` or `at least`.
    """

    layer: str
    what: str
    value: float
    limit: float
    relation: str

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"the relation of a claim is {self.relation!r:.40}")


@dataclass
class Recipe:
    """All decisions of one export.

    Attributes:
        model: architecture, its arguments, and the hash of the weights.
        settings: bits, input type, preprocessing, calibration, versions.
        activations: quantizer of every site `layer.operand`.
        weights: codes of every linear layer and patch embedding.
        smoothing: SQ-b of every layer norm that only linear layers read.
        exponents: grid of every residual value: its float is an integer times `2 ** -exponent`.
        proof: filled when the ONNX file is emitted.
        contents: SHA-256 of every part of that file (see `mptq_export.recipe.contents`); filled when it is written.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    activations: dict[str, ActivationQuant]
    weights: dict[str, WeightQuant]
    smoothing: dict[str, Smoothing]
    exponents: dict[str, int]
    proof: list[Claim] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
