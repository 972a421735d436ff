"""Which weight codes a bit-width allows.

AVX2 without VNNI adds two u8 x s8 products in int16. 255 * (|w[2i]| + |w[2i+1]|) <= 32767 holds for 7-bit codes and for
8-bit codes whose neighbours along K sum to at most 128; the second has up to twice the resolution.
"""

from dataclasses import dataclass

from mptq_export.recipe.schema import CodeForm

#: Largest |w[2i]| + |w[2i+1]| for activations of 8 bits.
PAIR_LIMIT = 128


@dataclass(frozen=True)
class CodeRange:
    """The codes of a bit-width.

    Attributes:
        low: smallest code.
        high: largest code.
        pair_limit: largest |w[2i]| + |w[2i+1]|; None where no pair can saturate.
    """

    low: int
    high: int
    pair_limit: int | None

    @staticmethod
    def of(bits: int) -> "CodeRange":
        """The range of a bit-width from 2 to 8; -128 is never used (arm64 kernels overflow on it)."""
        return (
            CodeRange(-127, 127, PAIR_LIMIT) if bits == 8 else CodeRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, None)
        )

    @property
    def form(self) -> CodeForm:
        """Its name in recipes."""
        return "narrow" if self.pair_limit is None else "pair_safe"
