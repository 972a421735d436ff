"""The recipe: scales, zero points, weight codes, grids and the proof that they are exact."""

from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.settings import ModelIdentity, Settings

#: Raised when a stored recipe changes its meaning.
VERSION = 3


CodeForm = Literal["pair_safe", "narrow", "full"]
"""Which weight codes there may be: of 8 bits with |w[2i]| + |w[2i+1]| <= 128, of 7 bits and fewer, or all of 8 bits."""


@dataclass(frozen=True)
class Region:
    """The levels of one scale of OPT-m, `zero_point + (k << shift)`; it starts where the region before it ends.

    Attributes:
        shift: m of the scale ratio `2 ** m` to the finest region.
        last: its last level, a code of the fine grid.
    """

    shift: int
    last: int


@dataclass(frozen=True)
class Run:
    """Levels at equal distances: `zero_point + k * unit` for `first <= k <= last`.

    Attributes:
        unit: distance of two levels, in codes.
        first: k of the lowest level; that of a region is the last level of the region below it.
        last: k of the highest level.
    """

    unit: int
    first: int
    last: int


@dataclass(frozen=True)
class ActivationQuant:
    """Quantizer of one matmul operand or table input, `x = (code - zero_point) * scale`.

    Attributes:
        scale: float32 value, > 0.
        zero_point: code of 0; in [0, 255] in the exact form.
        low: smallest code used; below 0 where codes are signed, which they never are in the exact form.
        high: largest code used.
        bits: bit-width of the code range, 2 to 8, or 16 in the portable form.
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

    @property
    def largest(self) -> int:
        """The largest absolute `code - zero_point`."""
        return max(self.high - self.zero_point, self.zero_point - self.low)

    @property
    def levels(self) -> int:
        """How many codes the quantizer can give."""
        return 1 + sum(run.last - run.first for run in self.runs())

    def runs(self) -> tuple[Run, ...]:
        """The levels from the lowest: one run for every region, or one of all codes where there are no regions."""
        found, start = [], self.low
        for region in self.regions or (Region(0, self.high),):
            unit = 1 << region.shift
            found.append(Run(unit, (start - self.zero_point) // unit, (region.last - self.zero_point) // unit))
            start = region.last
        return tuple(found)


@dataclass(frozen=True)
class WeightRegions:
    """OPT-m for weights: a core of `2 ** bits` levels that need not be evenly spaced, and outliers beyond it.

    Attributes:
        levels: the core, `2 ** bits` codes from the lowest.
        shift: u of the step `2 ** u` of outliers, each a level of the core plus `payload << shift`; 0 where there are
            none.
    """

    levels: tuple[int, ...]
    shift: int = 0


@dataclass(frozen=True)
class WeightQuant:
    """Per-channel symmetric weight codes of one linear layer.

    Attributes:
        codes: int8 [N, K].
        scale: float32 [N]; weight = codes * scale.
        bias: float32 [N].
        bits: bit-width of the codes, or of their core where there are regions.
        form: which codes there may be; see docs/design.md.
        reason: why these numbers.
        regions: the levels of the core, and what lies beyond; None where every whole number of the width is a code.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    bits: int
    form: CodeForm
    reason: str = ""
    regions: WeightRegions | None = None


@dataclass(frozen=True)
class SqB:
    """SQ-b (SmoothQuant with a bias) of one layer norm: its readers see `(x - shift) / scale`.

    Attributes:
        shift: b, float64 [D], in units of the layer norm's output.
        scale: s, float64 [D], > 0.
        strength: exponent a of the activation range; 0 where it is off.
        reason: the errors that decided.
    """

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    strength: float
    reason: str = ""


#: Bit-widths that codes can have.
WIDTHS = range(2, 9)

#: Those of activations where accelerators have wider ones, in the portable form.
WIDE = 16

Relation = Literal["at most", "at least"]
"""How a claim's value stands to its limit."""


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
    relation: Relation

    def __post_init__(self) -> None:
        if self.relation not in get_args(Relation):
            raise ValueError(f"the relation of a claim is {self.relation!r:.40}")


@dataclass
class Recipe:
    """All that was decided about a model's numbers.

    Attributes:
        activations: quantizer of every site `layer.operand`.
        weights: codes of every linear layer and patch embedding.
        sq_b: SQ-b of every layer norm that only linear layers read.
        exponents: grid of every residual value: its float is an integer times `2 ** -exponent`.
        proof: filled when the ONNX file is emitted.
        rotations: rotation Q of residual streams by the name of their first norm, float64 [D, D], `Q r`; in the
            portable form alone.
    """

    activations: dict[str, ActivationQuant]
    weights: dict[str, WeightQuant]
    sq_b: dict[str, SqB]
    exponents: dict[str, int]
    proof: list[Claim] = field(default_factory=list)
    rotations: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def further_calls(self) -> dict[str, str]:
        """Of every layer whose codes and scales are those of a layer before it, the name of that one."""
        first: dict[tuple[bytes, bytes, tuple[int, ...]], str] = {}
        found: dict[str, str] = {}
        for name, quant in self.weights.items():
            before = first.setdefault((quant.codes.tobytes(), quant.scale.tobytes(), quant.codes.shape), name)
            if before != name:
                found[name] = before
        return found

    @property
    def own_weights(self) -> dict[str, WeightQuant]:
        """The weights, each once however many calls it has."""
        further = self.further_calls
        return {name: quant for name, quant in self.weights.items() if name not in further}


@dataclass(kw_only=True)
class ExportRecipe(Recipe):
    """The recipe of one export, as it lies beside the ONNX file.

    Attributes:
        model: which model it is of.
        settings: how the export was asked for.
        contents: SHA-256 of every part of the file (see `mptq_export.recipe.onnx_contents`); filled when it is written.
    """

    model: ModelIdentity
    settings: Settings
    contents: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, model: ModelIdentity, settings: Settings) -> Self:
        """A recipe with the model that it is of and how it was asked for."""
        return cls(
            recipe.activations,
            recipe.weights,
            recipe.sq_b,
            recipe.exponents,
            recipe.proof,
            recipe.rotations,
            model=model,
            settings=settings,
        )
