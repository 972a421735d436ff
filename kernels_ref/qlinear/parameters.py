"""Codes, scales and zero points as the inputs of an op."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

EIGHT_BITS = (np.uint8, np.int8)


@dataclass(frozen=True)
class Quantized:
    """8-bit codes, one scale and one zero point; float32 holds every one of these whole numbers.

    Attributes:
        codes: any shape.
        scale: float32, no axis.
        zero: the zero point as float32, no axis.
    """

    codes: Array
    scale: np.float32
    zero: np.float32

    @property
    def values(self) -> Array:
        """The codes as float32."""
        return self.codes.astype(np.float32)

    @property
    def centred(self) -> Array:
        """Codes without their zero point, float32."""
        return self.values - self.zero


@dataclass(frozen=True)
class Target:
    """Scale, zero point and type of the result's codes."""

    scale: np.float32
    zero: np.float32
    dtype: np.dtype[Any]

    def saturate(self, rounded: Array) -> Array:
        """Codes of whole numbers that hold the zero point already; what leaves int32 becomes its least value."""
        limits = np.iinfo(self.dtype)
        # x86 converts what int32 does not hold to its least value; so does a NaN end.
        held = np.where(np.abs(rounded) < 2.0**31, rounded, -(2.0**31))
        return np.asarray(held.clip(limits.min, limits.max).astype(self.dtype))


def quantized(inputs: Sequence[Array | None], first: int) -> Quantized:
    """The codes, scale and zero point that start at an input.

    Raises:
        InterpreterError: they are missing, not 8 bits wide, or have more than one scale.
    """
    codes = inputs[first] if len(inputs) > first else None
    if codes is None or codes.dtype not in EIGHT_BITS:
        raise InterpreterError("the codes must be uint8 or int8")
    scale, zero = one_scale(inputs, first + 1)
    if zero is not None and zero.dtype != codes.dtype:
        raise InterpreterError(f"the codes are {codes.dtype} and their zero point {zero.dtype}")
    return Quantized(codes, scale, np.float32(0) if zero is None else np.float32(zero))


def target(inputs: Sequence[Array | None], first: int, dtype: np.dtype[Any]) -> Target:
    """Scale and zero point of the result.

    Args:
        inputs: the inputs of a node.
        first: index of the scale; the zero point follows.
        dtype: type of the codes where there is no zero point.

    Raises:
        InterpreterError: they are missing or are not of one element.
    """
    scale, zero = one_scale(inputs, first)
    return Target(scale, np.float32(0) if zero is None else np.float32(zero), dtype if zero is None else zero.dtype)


def one_scale(inputs: Sequence[Array | None], first: int) -> tuple[np.float32, Array | None]:
    """A scale, and its zero point where it is not left out; of one element each.

    Raises:
        InterpreterError: they are not.
    """
    scale = inputs[first] if len(inputs) > first else None
    zero = inputs[first + 1] if len(inputs) > first + 1 else None
    if scale is None or scale.dtype != np.float32 or scale.size != 1 or (zero is not None and zero.size != 1):
        raise InterpreterError("a scale must be one float32, and a zero point one code")
    return np.float32(scale.reshape(())), None if zero is None else zero.reshape(())
