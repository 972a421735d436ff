"""What a detector loses: divergence of its scores and boxes from the float model's, per object that this one sees.

Nearly all candidates are background. So each candidate n counts by how much the model believes in an object there,

    b_n = (prod_i max_c sigmoid(s_inc))^(1/I)    of I outputs of sigmoids: classes, and centerness or objectness
    b_n = 1 - softmax(s_n)[no object]            of a softmax

and the divergence is one per object, whatever the number of candidates:

    D = sum_n (max(b_n, b'_n) KL_n + BOXES b_n |box'_n - box_n|^2 / E_n) / (1 + sum_n b_n)

with b' of the quantized model (what it sees where there was nothing costs as much as what it overlooks), KL_n in nats,
of all sigmoids or of the softmax, and E_n the mean of |box|^2 by b over the level of n: boxes of all sizes count alike.
KL is of second order, so that the Hessian has b in place of the maximum, and a block an output.

What a detector gives besides, as the pyramid of a first stage, adds its own distance (`closed_forms.py`): of outputs of
one role (what is in front of the first dot of their names) the mean.
"""

import math
from dataclasses import dataclass

import torch

from mptq_export.quantize.objective.candidates import Candidates, Given, candidates_of
from mptq_export.quantize.objective.closed_forms import ClosedForm, closed_form

#: What the relative squared error of a box counts, in nats.
BOXES = 10.0


@dataclass(frozen=True)
class Detection:
    """The distance of all outputs of one detector.

    Attributes:
        levels: its candidates.
        others: place, share and distance of all other outputs.
    """

    levels: tuple[Candidates, ...]
    others: tuple[tuple[int, float, ClosedForm], ...]

    @staticmethod
    def of(given: Given) -> "Detection":
        """The distance for outputs of some sizes."""
        levels = candidates_of(given)
        taken = {place for level in levels for place in (*level.scores, *level.boxes)}
        rest = [(place, *each) for place, each in enumerate(given) if place not in taken]
        roles = [output.name.partition(".")[0] for _, output, _ in rest]
        others = [
            (place, 1 / roles.count(role), closed_form(None, output.kind, dims))
            for role, (place, output, dims) in zip(roles, rest, strict=True)
        ]
        return Detection(tuple(levels), tuple(others))

    def distance(self, exact: list[torch.Tensor], found: list[torch.Tensor]) -> torch.Tensor:
        """How far outputs are from the exact ones, [B]; all float64 [B, values]."""
        beliefs = [level.belief(exact) for level in self.levels]
        objects = _objects(beliefs)
        parts: list[torch.Tensor] = []
        for level, belief in zip(self.levels, beliefs, strict=True):
            either = torch.maximum(belief, level.belief(found))
            for place in level.scores:
                kl = level.divergence(place, exact[place], found[place])
                parts.append((either * kl).sum(1) / objects)
            weights = level.box_weights(exact)
            for place in level.boxes:
                boxes, others = _as_boxes(exact[place]), _as_boxes(found[place])
                lost = (weights * (others - boxes).square().sum(-1)).sum(1)
                parts.append(BOXES * lost / (level.size(weights, boxes) * objects))
        parts += [share * form.distance(exact[place], found[place]) for place, share, form in self.others]
        return torch.stack(parts).sum(0)

    def draw(self, exact: list[torch.Tensor], noise: list[torch.Tensor]) -> list[torch.Tensor]:
        """From standard normal noise a vector for every output; their covariance is the Hessian at the exact ones."""
        beliefs = [level.belief(exact) for level in self.levels]
        objects = _objects(beliefs)[:, None]
        drawn = list(noise)
        for level, belief in zip(self.levels, beliefs, strict=True):
            for place in level.scores:
                drawn[place] = level.draw(place, exact[place], noise[place], belief / objects)
            weights = level.box_weights(exact)
            for place in level.boxes:
                size = level.size(weights, _as_boxes(exact[place]))[:, None]
                scale = (2 * BOXES * weights / (size * objects)).sqrt()
                drawn[place] = (_as_boxes(noise[place]) * scale[..., None]).reshape(noise[place].shape)
        for place, share, form in self.others:
            drawn[place] = form.draw(exact[place], noise[place], 1) * math.sqrt(share)
        return drawn


def _objects(beliefs: list[torch.Tensor]) -> torch.Tensor:
    """How many candidates the float model believes in, and one more for an image without objects: [B]."""
    return 1 + torch.stack([belief.sum(1) for belief in beliefs]).sum(0)


def _as_boxes(output: torch.Tensor) -> torch.Tensor:
    return output.reshape(len(output), -1, 4)
