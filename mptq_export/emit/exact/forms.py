"""How a value is represented in the emitted graph."""

from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Codes:
    """A uint8 tensor, value = (code - zero_point) * scale.

    Attributes:
        tensor: ONNX name.
        scale: float32; per-channel scales of a Gemm's outputs are already absorbed.
        zero_point: code of 0.
        low: smallest code that occurs.
        high: largest code that occurs.
        flat: whether all axes but the last are merged into one (rows of a 2-D Gemm).
    """

    tensor: str
    scale: float
    zero_point: int
    low: int
    high: int
    flat: bool


@dataclass(frozen=True)
class Floats:
    """A float32 tensor in units of `2 ** -exponent`.

    Attributes:
        tensor: ONNX name.
        exponent: value = number * 2 ** -exponent.
        bound: proved largest absolute number.
        integer: whether every number is an integer (a residual on its grid).
        flat: as for `Codes`.
    """

    tensor: str
    exponent: int
    bound: float
    integer: bool
    flat: bool


#: Data movement and changes of shape keep the kind of form.
Form = TypeVar("Form", Codes, Floats)


@dataclass(frozen=True)
class Attention:
    """Unnormalised attention weights: uint8 codes and their exact row sums.

    Attributes:
        codes: ONNX name, uint8, at most 1 / scale: the code of a row's maximum.
        total: ONNX name, float32, sum of the codes of a row (keepdims).
        high: largest code.
    """

    codes: str
    total: str
    high: int
