"""How close an output is to the same output of something else: another runtime, or the float model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.metrics import agreement, cosines, divergences, mean_interval
from mptq_export.recipe.outputs import OutputKind
from mptq_export.support.json_files import Json

Array = NDArray[Any]


@dataclass(frozen=True)
class Closeness:
    """One output over all inputs.

    Attributes:
        inputs: how many there are.
        sqnr_db: squares of the reference by squares of the difference, in dB; of logits without their mean over the
            classes, which no softmax sees. None where nothing differs.
        cosine: mean cosine of an input's two vectors of all values.
        largest: largest absolute difference.
        finite: whether all values are numbers.
        agreement: share of the inputs for which both name the same class; None for other outputs than logits.
        mean_kl: mean KL(reference || found) of the softmax of logits, in nats; None for other outputs.
        kl_interval: of it, at 95 % (see `metrics.mean_interval`); None for other outputs.
    """

    inputs: int
    sqnr_db: float | None
    cosine: float
    largest: float
    finite: bool
    agreement: float | None = None
    mean_kl: float | None = None
    kl_interval: tuple[float, float] | None = None

    def to_json(self) -> Mapping[str, Json]:
        """Plain JSON values."""
        return asdict(self)


def closeness(kind: OutputKind, reference: Array, found: Array) -> Closeness:
    """Compare two outputs.

    Args:
        kind: of the output.
        reference: (inputs, ...) float32.
        found: of the same shape.
    """
    finite = bool(np.isfinite(found).all())
    a, b = (np.nan_to_num(values.astype(np.float64).reshape(len(values), -1)) for values in (reference, found))
    largest = float(np.abs(a - b).max(initial=0.0))
    if kind != "logits":
        return Closeness(len(a), _sqnr(a, b), float(cosines(a, b).mean()), largest, finite)
    kl = divergences(a, b)
    centred = [values - values.mean(1, keepdims=True) for values in (a, b)]
    return Closeness(
        len(a),
        _sqnr(*centred),
        float(cosines(a, b).mean()),
        largest,
        finite,
        agreement(a, b),
        float(kl.mean()),
        mean_interval(kl),
    )


def _sqnr(reference: Array, found: Array) -> float | None:
    noise = float(np.square(reference - found).sum())
    if noise == 0:
        return None
    return float(10 * np.log10(max(float(np.square(reference).sum()), np.finfo(np.float64).tiny) / noise))
