"""How the portable form represents a value: as floats between the codes of its quantizer."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mptq_export.emit.value import Value
from mptq_export.recipe.schema import ActivationQuant


@dataclass(frozen=True, kw_only=True)
class Tensor(Value):
    """A float32 tensor: what a DequantizeLinear gives, or what an op computes where nothing has codes.

    Attributes:
        quant: whose codes it was made of; None for a float that has none.
    """

    suffix: ClassVar[str] = "q"
    dtype: ClassVar[type[np.generic]] = np.float32

    quant: ActivationQuant | None


def code_type(quant: ActivationQuant) -> type[np.generic]:
    """The type of the codes of a quantizer: int8, uint8, int16 or uint16."""
    if quant.low < 0:
        return np.int8 if quant.bits <= 8 else np.int16
    return np.uint8 if quant.bits <= 8 else np.uint16
