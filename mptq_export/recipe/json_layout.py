"""OUT.recipe.json, field by field: what a recipe's tensors are described by, with a hash of each."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.schema import WIDTHS, ActivationQuant, Claim, CodeForm, SqB, WeightQuant, WeightRegions
from mptq_export.recipe.settings import Form, ModelIdentity, Settings

#: Floats end at 2 ** 127; a grid beyond is no grid.
_LARGEST_EXPONENT = 126

#: Codes of a form: unsigned ones of 8 bits, or those of 8 and of 16 bits, signed and unsigned.
_CODES: dict[Form, range] = {"exact": range(256), "portable": range(-(2**15), 2**16)}
_SHIFTS = range(8)


@dataclass(frozen=True)
class WeightEntry:
    """What is readable of `WeightQuant`.

    Attributes:
        bits: bit-width of the codes.
        form: which codes there may be.
        shape: of the codes, [N, K].
        reason: why these numbers.
        sha256: of bits, form, codes, scale and bias, and of regions where there are any.
    """

    bits: int
    form: CodeForm
    shape: tuple[int, int]
    reason: str
    sha256: str

    @classmethod
    def of(cls, quant: WeightQuant) -> Self:
        """The entry of a layer."""
        label = f"{quant.bits} {quant.form}"
        if quant.regions is not None:
            label += f" {quant.regions.levels} {quant.regions.shift}"
        digest = _digest(label, quant.codes, quant.scale, quant.bias)
        rows, columns = quant.codes.shape
        return cls(quant.bits, quant.form, (rows, columns), quant.reason, digest)


@dataclass(frozen=True)
class SqBEntry:
    """What is readable of `SqB`.

    Attributes:
        strength: exponent of the activation range.
        reason: the errors that decided.
        sha256: of strength, shift and scale.
    """

    strength: float
    reason: str
    sha256: str

    @classmethod
    def of(cls, sq_b: SqB) -> Self:
        """The entry of a layer norm."""
        digest = _digest(repr(sq_b.strength), sq_b.shift, sq_b.scale)
        return cls(sq_b.strength, sq_b.reason, digest)


@dataclass(frozen=True)
class RotationEntry:
    """What is readable of the rotation of a residual stream.

    Attributes:
        width: channels of the stream.
        sha256: of the matrix.
    """

    width: int
    sha256: str

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Self:
        """The entry of a stream."""
        return cls(len(matrix), _digest("rotation", matrix))


@dataclass(frozen=True)
class RecipeJson:
    """The whole file.

    Attributes:
        recipe_version: `schema.VERSION`.
        model: which model the recipe is of.
        settings: how the export was asked for.
        bits: `W/A` of every layer, see `store.layer_bits`.
        activations: quantizer of every site.
        weights: of every layer with weights.
        smoothing: SQ-b of layer norms, `Recipe.sq_b`.
        exponents: grid of every residual value.
        proof: all claims.
        contents: SHA-256 of every part of the ONNX file; empty where none was written.
        rotations: of residual streams, `Recipe.rotations`.
        calls: of layers whose codes and scales are those of another one, as they are one layer of the model, the name
            of that one, with which they are stored.
        regions: of the layers whose weights have some, `WeightQuant.regions`.
    """

    recipe_version: int
    model: ModelIdentity
    settings: Settings
    bits: dict[str, str]
    activations: dict[str, ActivationQuant]
    weights: dict[str, WeightEntry]
    smoothing: dict[str, SqBEntry]
    exponents: dict[str, int]
    proof: tuple[Claim, ...]
    contents: dict[str, str] = field(default_factory=dict)
    rotations: dict[str, RotationEntry] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    regions: dict[str, WeightRegions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers that no quantizer and no grid has."""
        for name, exponent in self.exponents.items():
            _refuse_unless(abs(exponent) <= _LARGEST_EXPONENT, f"exponents.{name}", exponent)
        for name, weight in self.weights.items():
            _refuse_unless(weight.bits in WIDTHS, f"weights.{name}.bits", weight.bits)
        for name, regions in self.regions.items():
            _refuse_unless(name in self.weights and self.settings.form == "exact", f"regions.{name}", regions)
        for name, quant in self.activations.items():
            codes = (quant.zero_point, quant.low, quant.high, quant.bits, *(region.last for region in quant.regions))
            sound = (
                quant.scale > 0
                and quant.low <= quant.high
                and all(code in _CODES[self.settings.form] for code in codes)
            )
            sound = sound and all(region.shift in _SHIFTS for region in quant.regions)
            _refuse_unless(sound, f"activations.{name}", quant)


def _refuse_unless(sound: bool, where: str, value: object) -> None:
    if not sound:
        raise ValueError(f"{where} cannot be {value!r:.200}")


def _digest(label: str, *arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256(label.encode())
    for array in arrays:
        digest.update(f" {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
