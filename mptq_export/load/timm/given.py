"""What a timm model gives: scores of classes, or what stands in front of its head."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mptq_export.load.outputs import LOGITS, Output
from mptq_export.recipe.outputs import AXES

IMAGE_EMBEDS = (Output("image_embeds", "embedding"),)
"""What the tower of a CLIP gives: the space that images and texts share."""


def given_by(model: nn.Module, input_size: tuple[int, int, int]) -> tuple[Output, ...]:
    """Its one output: `logits`, `embedding` of a model with `num_classes=0`, or `image_embeds` of the tower of a CLIP.

    One whose `global_pool` is empty gives a row for every position: it is run once to see which axes there are.

    Args:
        model: a timm model in evaluation mode.
        input_size: channels, height and width of an image.
    """
    headless = getattr(model, "num_classes", None) == 0
    if getattr(model, "global_pool", None) != "":
        if _is_projection(model):
            return IMAGE_EMBEDS
        return (Output("embedding", "embedding"),) if headless else LOGITS
    with torch.no_grad():
        axes = model(torch.zeros(1, *input_size)).dim()
    if axes == AXES["tokens"]:
        return (Output("tokens" if headless else "logits", "tokens"),)
    if axes == AXES["logits"]:
        return (Output("embedding", "embedding"),) if headless else LOGITS
    return (Output("map" if headless else "logits", "values"),)


def _is_projection(model: nn.Module) -> bool:
    """Whether the head is the projection of a CLIP or SigLIP, which has no bias, and no classifier, which has one."""
    tower = not isinstance(getattr(model, "norm_pre", nn.Identity()), nn.Identity)
    tower = tower or getattr(model, "attn_pool", None) is not None
    head = getattr(model, "head", None)
    return tower and isinstance(head, nn.Linear) and head.bias is not None and not bool(head.bias.any())


def without_classifier(tensors: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a classifier for the same model without it, and what to tell about those that are left out.

    Args:
        tensors: of the checkpoint, under the model's names.
        model: the timm model with ``num_classes=0``, which the user asked for.
    """
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
    own = model.state_dict().keys()
    left = [name for name in tensors if name.startswith(heads) and name not in own]
    told = (f"{', '.join(left)} left out: num_classes 0 asks for what stands in front of the classifier",)
    return {name: tensor for name, tensor in tensors.items() if name not in left}, told if left else ()
