"""The candidates of a detector on one level: which outputs are theirs, and how much the model believes in each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mptq_export.quantize.objective.closed_forms import bernoulli_divergence
from mptq_export.recipe.outputs import OF_DETECTORS, Output

Given = Sequence[tuple[Output, tuple[int, ...]]]
"""Outputs, each with its sizes for one image."""

#: Boxes of no size have no relative error.
_SMALLEST = 1e-20

#: (cx, cy, w, h) as shares of the image, of DETR and its kin: places say nothing of a box's size.
_CENTRES = "pred_boxes"

#: (image, candidate, class or coordinate).
_DENSE_AXES = 3


@dataclass(frozen=True)
class Candidates:
    """N candidates of an image. Tensors are float64; outputs are all that the model gives, [B, values] each.

    Attributes:
        count: N.
        sigmoids: places of scores [N, any] among the outputs.
        softmax: place of [N, K] scores; None where there is none.
        background: which of the K stands for no object.
        boxes: places of [N, 4].
        by_class: of a second stage: N is 1, and boxes are [K, 4], one a class.
        centres: whether boxes are (cx, cy, w, h).
    """

    count: int
    sigmoids: tuple[int, ...] = ()
    softmax: int | None = None
    background: int = -1
    boxes: tuple[int, ...] = ()
    by_class: bool = False
    centres: bool = False

    @property
    def scores(self) -> tuple[int, ...]:
        """Places of all scores."""
        return self.sigmoids if self.softmax is None else (*self.sigmoids, self.softmax)

    def belief(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """How much there is an object, [B, N] from 0 to 1; 1 where no score says it."""
        if self.softmax is not None:
            return 1 - self._rows(outputs[self.softmax]).softmax(-1)[..., self.background]
        logs = [torch.nn.functional.logsigmoid(self._rows(outputs[place]).amax(-1)) for place in self.sigmoids]
        if not logs:
            return outputs[self.boxes[0]].new_ones(len(outputs[0]), self.count)
        return (sum(logs[1:], logs[0]) / len(logs)).exp()

    def divergence(self, place: int, exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """KL divergence of one output of scores, in nats a candidate, [B, N]."""
        if place != self.softmax:
            return self._rows(bernoulli_divergence(exact, found)).sum(-1)
        exact, found = (self._rows(x).log_softmax(-1) for x in (exact, found))
        return (exact.exp() * (exact - found)).sum(-1)

    def draw(self, place: int, exact: torch.Tensor, noise: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """From standard normal noise vectors whose covariance is that divergence's Hessian, each candidate by `counts`.

        Args:
            place: of the scores.
            exact: their logits.
            noise: of the same shape.
            counts: [B, N], factors of the Hessian.
        """
        z = self._rows(noise) * counts[..., None].sqrt()
        if place != self.softmax:
            drawn = z * (self._rows(exact).sigmoid() * self._rows(-exact).sigmoid()).sqrt()
        else:
            probability = self._rows(exact).softmax(-1)
            scaled = probability.sqrt() * z
            drawn = scaled - probability * scaled.sum(-1, keepdim=True)
        return drawn.reshape(exact.shape)

    def box_weights(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """How much every box counts, in objects: [B, boxes]."""
        if not self.by_class or self.softmax is None:
            return self.belief(outputs)
        weights = outputs[self.softmax].softmax(-1).clone()
        weights[:, self.background] = 0
        return weights

    def size(self, weights: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Square of a usual box, [B], from [B, boxes] weights and [B, boxes, 4]."""
        squares = (boxes[..., 2:] if self.centres else boxes).square().sum(-1) / (2 if self.centres else 1)
        if self.by_class:  # those of one region are too few
            return squares.mean(1).clamp_min(_SMALLEST)
        return ((weights * squares).sum(1) / weights.sum(1).clamp_min(_SMALLEST)).clamp_min(_SMALLEST)

    def _rows(self, output: torch.Tensor) -> torch.Tensor:
        return output.reshape(len(output), self.count, -1)


def candidates_of(given: Given) -> list[Candidates]:
    """The candidates that outputs speak of: side by side on a level stand scores and boxes of as many candidates.

    The level is what follows the first dot of a name. Scores without boxes are of candidates too; masks, with other
    axes, are not.
    """
    grouped: dict[tuple[str, int], list[int]] = {}
    for place, (output, dims) in enumerate(given):
        if output.kind in OF_DETECTORS and len(dims) == _DENSE_AXES:
            grouped.setdefault((output.name.partition(".")[2], dims[1]), []).append(place)
    found = [_dense(given, places, count) for (_, count), places in grouped.items()]
    return [*found, *_regions(given)]


def _dense(given: Given, places: list[int], count: int) -> Candidates:
    def of(kind: str) -> tuple[int, ...]:
        return tuple(place for place in places if given[place][0].kind == kind)

    centres = any(given[place][0].name == _CENTRES for place in of("boxes"))
    return Candidates(count, of("scores"), next(iter(of("choices")), None), boxes=of("boxes"), centres=centres)


def _regions(given: Given) -> list[Candidates]:
    """Those of a second stage, whose images are regions: logits [B, K], background first, and boxes [B, 4 K]."""
    for place, (output, dims) in enumerate(given):
        if output.kind == "logits":
            of_classes = (1, 4 * dims[-1])
            boxes = tuple(
                at for at, (other, sizes) in enumerate(given) if other.kind == "boxes" and sizes == of_classes
            )
            if boxes:
                return [Candidates(1, softmax=place, background=0, boxes=boxes, by_class=True)]
    return []
