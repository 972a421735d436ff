"""How a model without a classifier makes one vector of its tokens: no tensor shows it."""

import re
from collections.abc import Collection, Mapping

from torch import nn

from mptq_export.load.timm.fit import Fit

_SHOWN_BY_TRAINING = re.compile(r"(^|\.)(head|dino_head|ibot_head)\.last_layer\.")
"""DINO and iBOT train the class token."""
_MASKED = re.compile(r"^decoder_(embed|pred)\.")
"""MAE trains none."""


def pooling(model: nn.Module, fitted: Fit, givers: Mapping[str, str], names: Collection[str]) -> tuple[str, ...]:
    """A warning where class token and mean of the patches are both possible, and only the architecture chooses.

    Args:
        model: the model.
        fitted: how it came to its arguments.
        givers: who gave the arguments that somebody gave.
        names: of the checkpoint's tensors.
    """
    pool, token = getattr(model, "global_pool", None), getattr(model, "cls_token", None)
    masked = any(_MASKED.match(name) for name in names)
    headless = getattr(model, "num_classes", None) == 0 and ("num_classes" in fitted.inferred or masked)
    said = "global_pool" in givers or any(_SHOWN_BY_TRAINING.match(name) for name in names)
    if not headless or said or not isinstance(pool, str) or token is None:
        return ()
    other = '{"global_pool": "avg", "fc_norm": false}' if pool == "token" else '{"global_pool": "token"}'
    what = "class token" if pool == "token" else "mean of the patches"
    return (
        f"the checkpoint has no classifier, and nothing in it says which vector of the image is meant: the {what} is "
        f"given, as the architecture has it; for {'the mean of the patches' if pool == 'token' else 'the class token'} "
        f"pass --model-kwargs '{other}'",
    )
