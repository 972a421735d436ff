"""What a model gives: named outputs, each of a kind, which says how it is compared with the float model's."""

from dataclasses import dataclass
from typing import Literal

OutputKind = Literal["logits", "embedding", "map", "tokens", "scores", "choices", "boxes", "values"]
"""`logits` [B, classes]: one score a class. `embedding` [B, C]: compared by its direction. `map` [B, C, H, W]. `tokens`
[B, N, C]. `values`: anything else with the batch first, such as a depth map.

Of detectors, for N candidates a picture: `scores` [B, N, classes], logits of independent sigmoids (of classes, of
centerness or objectness, of masks with other axes); `choices` [B, N, K], logits of a softmax over the last axis, of
which the last stands for "no object"; `boxes` [B, N, 4], places or corrections of places, by whatever coordinates."""

#: How many axes an output of a kind has, with the batch; the others may have any.
AXES: dict[OutputKind, int] = {"logits": 2, "embedding": 2, "map": 4, "tokens": 3, "choices": 3}

#: Kinds that detectors alone have.
OF_DETECTORS: frozenset[OutputKind] = frozenset({"scores", "choices", "boxes"})


@dataclass(frozen=True)
class Output:
    """One tensor that a model gives.

    Attributes:
        name: the model's own name of it, and that of the ONNX output.
        kind: what its numbers are.
    """

    name: str
    kind: OutputKind


LOGITS: tuple[Output, ...] = (Output("logits", "logits"),)
"""What a classifier gives."""
