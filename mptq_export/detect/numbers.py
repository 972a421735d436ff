"""Sigmoid, softmax and the highest of many, in float32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), of each value."""
    with np.errstate(over="ignore"):  # exp of a very low logit is infinite, and its sigmoid 0
        result: Floats = np.float32(1) / (np.float32(1) + np.exp(-values))
    return result


def softmax(values: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def highest(scores: Floats, count: int) -> Indices:
    """Where the highest scores are, the best first; of equal ones the first, as ONNX's TopK has it.

    Quantized scores are often equal. torch's `topk` leaves open which of them it takes.

    Args:
        scores: [N].
        count: at most so many.
    """
    if count < 1:
        return np.zeros(0, np.intp)
    if len(scores) <= count:
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > least)
    kept = np.sort(np.concatenate((above, np.flatnonzero(scores == least)[: count - len(above)])))
    return kept[np.argsort(-scores[kept], kind="stable")]


def as_floats(array: NDArray[Any]) -> Floats:
    """The array in float32."""
    return np.asarray(array, np.float32)
