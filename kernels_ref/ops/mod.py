"""Mod: the rest of a division."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def mod(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The rest of `A / B`: with the sign of B, or with that of A (`fmod` 1).

    Args:
        inputs: A and B, of one number type; they broadcast.
        attributes: `fmod` (0).

    Raises:
        InterpreterError: an input is missing, the types differ, or an integer is divided by 0.
    """
    a, b = same_type(inputs, 2)
    fmod = bool(attributes.get("fmod", 0))
    if a.dtype.kind != "f" and not b.all():
        raise InterpreterError("an integer is divided by 0")
    return (np.asarray(np.fmod(a, b) if fmod else np.mod(a, b)),)
