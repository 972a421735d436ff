"""What is assumed of a runtime: how far its Exp, Gelu or Sigmoid may be from the true function.

No runtime rounds these functions correctly. Their errors are those of float32 polynomials: a share of the result, and a
share of the argument, because Gelu is `x (1 + erf)` and a sum near 0 has the error of its terms. So a result that is
all but 0 can be wrong by many times itself. `tools/crosscheck/functions.py` measures the errors of a runtime;
docs/design.md has the table, in which every one is below a quarter of what is assumed here.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.function_names import Function


class Deviation(NamedTuple):
    """The largest error of a function: `of_result |f(x)| + of_argument |x|`."""

    of_result: float
    of_argument: float


#: What is assumed of most functions.
_USUAL = Deviation(2.0**-20, 2.0**-20)

Certified = Function | Literal["exp", "erf"]
"""A function whose results become codes: an activation function, the Exp of a softmax, or a Gelu's Erf by itself."""

#: Exp is a power of two times a polynomial near 1: its error is a share of the result alone. Gelu's erf is good to the
#: last bits everywhere.
_ASSUMED: dict[Certified, Deviation] = {
    "exp": Deviation(2.0**-20, 0.0),
    "gelu": Deviation(2.0**-20, 2.0**-22),
    "gelu_tanh": _USUAL,
    "silu": _USUAL,
    "quick_gelu": _USUAL,
    "sigmoid": _USUAL,
    "tanh": _USUAL,
    "hardswish": _USUAL,
    "relu": Deviation(0.0, 0.0),
    "erf": _USUAL,
}

#: Where results leave the normal numbers of float32, some runtimes give 0.
_TINY = 2.0**-120

#: QuantizeLinear divides in float32: share of a quotient that is rounded away, at most.
DIVISION = 2.0**-23


def assumed(function: Certified) -> Deviation:
    """What is assumed of a function."""
    return _ASSUMED[function]


def largest_error(
    function: Certified, argument: NDArray[np.float64], result: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far what a runtime quantizes may be from the true results, its division included.

    Args:
        function: its name.
        argument: float64, any shape.
        result: the function of the arguments, same shape.
    """
    deviation = assumed(function)
    return (deviation.of_result + DIVISION) * np.abs(result) + deviation.of_argument * np.abs(argument) + _TINY
