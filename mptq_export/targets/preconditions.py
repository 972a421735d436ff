"""What a caller must keep for the promised bits, as the file itself says it."""

from mptq_export.recipe.settings import InputType

PRECONDITIONS_KEY = "mptq.preconditions"

_NUMBERS = "no NaN among the inputs (infinities and any other float32 are fine)"
_ROUNDING = "the calling thread rounds to nearest even, as every thread does from the start"


def preconditions(input_type: InputType) -> str:
    """The text of the metadata.

    Args:
        input_type: `float32` or `uint8`; a uint8 is never NaN.
    """
    return "; ".join([_ROUNDING] if input_type == "uint8" else [_NUMBERS, _ROUNDING])
