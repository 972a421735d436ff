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
    def of(bits: int, widest: CodeForm = "pair_safe") -> "CodeRange":
        """The range of a bit-width from 2 to 8; -128 is never used (arm64 kernels overflow on it).

        Args:
            bits: 2 to 8.
            widest: `pair_safe`, or `full` for kernels that cannot saturate; it says which codes of 8 bits there may be.
        """
        if bits == 8:
            return CodeRange(-127, 127, None if widest == "full" else PAIR_LIMIT)
        return CodeRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, None)

    @property
    def form(self) -> CodeForm:
        """Its name in recipes."""
        if self.pair_limit is not None:
            return "pair_safe"
        return "full" if self.low == -self.high else "narrow"
