"""All kinds, a file of builders for those that belong together."""

from tools.doors.kind import Kind
from tools.doors.kinds import (
    adapters,
    clip,
    extras,
    huggingface,
    modules,
    papers,
    refused,
    refused_folders,
    refused_modules,
    timm_files,
    torchvision_files,
    training,
)

GROUPS: dict[str, tuple[Kind, ...]] = {
    "timm": timm_files.KINDS,
    "Training frameworks and own loops": training.KINDS,
    "Plain data beside the weights": extras.KINDS,
    "Hugging Face transformers": huggingface.KINDS,
    "PEFT": adapters.KINDS,
    "torchvision": torchvision_files.KINDS,
    "OpenCLIP and OpenAI CLIP": clip.KINDS,
    "Files of papers' repositories": papers.KINDS,
    "Modules": modules.KINDS,
    "To be refused": (*refused.KINDS, *refused_folders.KINDS, *refused_modules.KINDS),
}

KINDS: tuple[Kind, ...] = tuple(kind for kinds in GROUPS.values() for kind in kinds)


def group_of(kind: Kind) -> str:
    """Which group a kind belongs to."""
    return next(group for group, kinds in GROUPS.items() if kind in kinds)
