"""What is found in the input, as tensors of the graph."""

from dataclasses import dataclass

from mptq_export.emit.detector.ops import Ops


@dataclass(frozen=True)
class Found:
    """The best first.

    Attributes:
        boxes: [N, 4] in pixels of the input.
        scores: [N].
        labels: [N] int64.
    """

    boxes: str
    scores: str
    labels: str

    def at(self, op: Ops, indices: str) -> "Found":
        """Those at the indices."""
        return Found(op.rows(self.boxes, indices), op.rows(self.scores, indices), op.rows(self.labels, indices))
