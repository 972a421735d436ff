"""Which models a pretraining points to: it leaves tensors in its files that no other has.

They tell the weights and not only the shapes, so that the preprocessing of these weights is known, too.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import timm

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.timm.fit import Hint, Shapes, build_meta, fit, shapes_of
from mptq_export.load.timm.harmless import needed
from mptq_export.load.timm.infer import Candidate, candidate_of, distinct_models
from mptq_export.load.timm.place_tensors import place
from mptq_export.support.errors import MptqError

#: What the names hold, and which names of timm, with tags where these are the weights.
_TRAININGS = (
    (re.compile(r"^decoder_(embed|pred)\.weight$"), "vit_*.mae", True),
    (re.compile(r"(^|\.)(head|dino_head)\.last_layer\."), "vit_*.dino", True),
    (re.compile(r"^storage_tokens$"), "vit_*dinov3*", False),
)
_BIASED = "_qkvb"
"""The end of the name of a model that has a bias of queries and values, beside one that has none."""


def trained_models(
    checkpoint: Checkpoint,
    names: Collection[str],
    model_kwargs: Mapping[str, Any],
    pretrained_cfg: Mapping[str, Any],
    hints: Mapping[str, Hint] | None = None,
) -> tuple[Candidate, ...] | None:
    """All models of the pretraining that the names show; None where they show none, or none of its models fits.

    Args:
        checkpoint: with its tensors.
        names: all names that tell what a tensor is.
        model_kwargs: arguments that are given.
        pretrained_cfg: what is said of the preprocessing, which overrides that of the models.
        hints: what is said of classes, channels and size.
    """
    row = next((row for row in _TRAININGS if any(row[0].search(name) for name in names)), None)
    if row is None:
        return None
    shapes = needed(shapes_of(checkpoint.state_dict), names)
    found: dict[str, Candidate] = {}
    for name in timm.list_models(row[1], pretrained=row[2]):
        try:
            if _outline(shapes_of(build_meta(name, model_kwargs).state_dict())) != _outline(shapes):
                continue
            fitted = fit(name, shapes, model_kwargs, hints)
            place(checkpoint.path, checkpoint.state_dict, fitted.model, name, names)
        except MptqError:
            continue
        found[name] = candidate_of(name, fitted, pretrained_cfg)
    plain = [
        each for name, each in found.items() if name.removesuffix(_BIASED) == name or name[: -len(_BIASED)] not in found
    ]
    return distinct_models(plain) or None


def _outline(shapes: Shapes) -> tuple[Any, ...]:
    """Shape of the first convolution, and how many blocks there are."""
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    return shapes.get("patch_embed.proj.weight"), len(blocks)
