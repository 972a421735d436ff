"""How far an output may be from its golden one: twice as far as runtimes that compute the same model are.

The golden output is what the file says: onnxruntime without its optimizations computes every op in float between the
codes. Beside it stand, on the golden inputs, onnxruntime with its default options, whose kernels round otherwise, and
the file with its codes nudged (`nudged.py`). A broken kernel is an order of magnitude further away: the signed softmax
of HTP leaves nothing of the signal.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.metrics import divergences
from mptq_export.kit.portable.limits import Apart, Spread, Tolerance
from mptq_export.recipe.outputs import OutputKind

Array = NDArray[Any]

FACTOR = 2.0
"""The tolerance by the largest difference that was measured; of a divergence, which grows with its square, squared."""

_LEADS = 4.0
"""Two logits move apart by so many times the tolerance of their mean square at most."""


def apart(kind: OutputKind, golden: Array, found: Array) -> Apart:
    """Compare one output of one input.

    Args:
        kind: of the output.
        golden: (1, ...) values.
        found: of the same shape.
    """
    difference = (found.astype(np.float64) - golden.astype(np.float64)).reshape(len(golden), -1)
    if kind != "logits":
        return Apart(_rms(difference), None)
    difference -= difference.mean(axis=1, keepdims=True)
    return Apart(_rms(difference), max(0.0, float(divergences(golden, found).max())))


def largest(found: Iterable[Apart]) -> Apart:
    """The largest of each."""
    every = list(found)
    kls = [each.kl for each in every if each.kl is not None]
    return Apart(max(each.rms for each in every), max(kls) if kls else None)


def tolerance(spread: Spread, step: float | None) -> Tolerance:
    """What follows from what was measured.

    Args:
        spread: the measured differences.
        step: of the codes that the output is made of: one of them is always allowed. None where it is made of floats.
    """
    both = largest((spread.default, spread.nudged))
    rms = max(FACTOR * both.rms, step or 0.0)
    if both.kl is None:
        return Tolerance(rms, None, None)
    # Logits that move by r on their mean square change the divergence by about half of its square.
    return Tolerance(rms, max(FACTOR**2 * both.kl, rms**2 / 2), _LEADS * rms)


def _rms(difference: Array) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))
