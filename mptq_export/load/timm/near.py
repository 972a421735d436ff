"""Which timm models a checkpoint looks like, where the named one is not it: what a refusal suggests."""

import json
from collections.abc import Collection
from difflib import SequenceMatcher

from mptq_export.load.timm.fit import Shapes
from mptq_export.load.timm.harmless import needed
from mptq_export.load.timm.infer import fitting_models, likely_models

#: Names that are suggested.
_SHOWN = 3

#: Share of the tensors that a model must have, of those of the file and of its own, to be called near.
_NEAR = 0.9


def looks_like(shapes: Shapes, names: Collection[str], asked: str = "") -> str:
    """What the tensors of a checkpoint fit, a sentence with a space before it; empty where they fit nothing known.

    Args:
        shapes: of its tensors, under the names of timm.
        names: all names that tell what a tensor is.
        asked: the architecture that was named, which is not suggested as it is.
    """
    depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    for kwargs in ({}, {"depth": depth}) if depth else ({},):
        found = fitting_models(shapes, kwargs, {}, names=names)
        every = [name for each in found for name in (each.name, *each.aliases)]
        fitting = sorted(every, key=lambda name: -SequenceMatcher(None, name, asked).ratio())[:_SHOWN]
        if asked.partition(".")[0] in every and not kwargs:
            return ""
        if fitting:
            given = f" --model-kwargs '{json.dumps(kwargs)}'" if kwargs else ""
            which = fitting[0] if len(fitting) == 1 else "with the right one"
            return f" These tensors look like {' or '.join(fitting)}: pass --arch {which}{given}."
    return _nearest(needed(shapes, names), asked)


def _nearest(plain: Shapes, asked: str) -> str:
    """The model that has most of the tensors, where that is nearly all."""
    shares = {}
    for name, wanted in likely_models(plain):
        same = sum(plain.get(key) == shape for key, shape in wanted.items())
        shares[name] = same / max(len(plain), len(wanted), 1)
    shares.pop(asked.partition(".")[0], None)
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < _NEAR:
        return ""
    return f" These tensors look most like {best}, which has {shares[best]:.0%} of them in the same shapes."
