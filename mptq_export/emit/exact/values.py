"""How the exact form represents a value: as codes, or as floats in units of a power of two."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mptq_export.emit.value import Value
from mptq_export.recipe.schema import ActivationQuant


@dataclass(frozen=True, kw_only=True)
class Codes(Value):
    """A uint8 tensor, value = (code - zero_point) * scale.

    Attributes:
        scale: float32; per-channel scales of a Gemm's outputs are already absorbed.
        zero_point: code of 0.
        low: smallest code that occurs.
        high: largest code that occurs.
    """

    suffix: ClassVar[str] = "u8"
    dtype: ClassVar[type[np.generic]] = np.uint8

    scale: float
    zero_point: int
    low: int = 0
    high: int = 255

    @staticmethod
    def of(quant: ActivationQuant, tensor: str, *, flat: bool) -> "Codes":
        """The codes that a quantizer gives."""
        return Codes(
            tensor=tensor, scale=quant.scale, zero_point=quant.zero_point, low=quant.low, high=quant.high, flat=flat
        )

    @property
    def largest(self) -> int:
        """The largest absolute `code - zero_point`."""
        return max(self.high - self.zero_point, self.zero_point - self.low)


@dataclass(frozen=True, kw_only=True)
class Floats(Value):
    """A float32 tensor in units of `2 ** -exponent`.

    Attributes:
        exponent: value = number * 2 ** -exponent.
        bound: proved largest absolute number.
        integer: whether every number is an integer (a residual on its grid).
    """

    suffix: ClassVar[str] = "f32"
    dtype: ClassVar[type[np.generic]] = np.float32

    exponent: int
    bound: float
    integer: bool = False


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Unnormalised attention weights: uint8 codes and their exact row sums.

    Attributes:
        codes: whole numbers, at most the code of a row's maximum; a weight is a code over `total`.
        total: ONNX name, float32, sum of the codes of a row (keepdims).
    """

    codes: Codes
    total: str
