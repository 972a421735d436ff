"""A checkpoint with torchvision's names: its transformers are recognised by them, and built as the shapes say."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.outputs import LOGITS, Output
from mptq_export.load.torchvision.families import FAMILIES, Family, Shapes
from mptq_export.load.torchvision.head import Head, head_of
from mptq_export.load.torchvision.inputs import default_size, resolve
from mptq_export.support.errors import MptqError, one_line
from mptq_export.support.limits import check_memory

PREFIX = "torchvision:"
"""What `--arch` may begin with, to say whose the architecture is."""

#: Buffers that a model computes itself, and counters of training.
_OWN = ("relative_position_index", "relative_coords_table", "num_batches_tracked")
_SHOWN = 4


def load_state_dict(source: Source) -> LoadedModel:
    """Build the model that the shapes call for, and fill it.

    Raises:
        MptqError: the tensors are not those of such a model, or do not show all of it.
    """
    family = _asked_family(source) or _family_of(source.checkpoint)
    assert family is not None
    checkpoint = source.checkpoint.named_for(family.signature)
    path, options, tensors = checkpoint.path, source.asked, checkpoint.state_dict
    if not family.signature <= tensors.keys():
        missing = ", ".join(sorted(family.signature - tensors.keys()))
        raise MptqError(f"{path} does not fit {options.arch} of torchvision: it has no {missing}; leave --arch out")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    said = {**checkpoint.model_kwargs, **options.model_kwargs}
    arguments, arch = _arguments(source, family, shapes, said)
    size = _size(source, family, arguments, arch)
    head = head_of(family, shapes, str(path))
    model = _built(source, family, {**arguments, **_size_argument(family, size[0])}, head)
    _fill(model, tensors, f"{path} does not fit {arch or family.name} of torchvision")
    found = resolve(path, arch, size, checkpoint.pretrained_cfg, options.inputs)
    own = checkpoint.class_names or (found.published.classes if found.published else None)
    names, warnings = fitting_names(own, head.classes)
    unnamed = "1000 logits do not prove that the classes are ImageNet's: they have no names; pass --class-map"
    notes = (*checkpoint.notes, *found.notes, *([unnamed] if names is None and head.classes == 1000 else []))
    return LoadedModel(
        model=inference_ready(model),
        arch=arch or family.name,
        model_kwargs={**arguments, "num_classes": head.classes},
        arch_source="--arch" if options.arch else "torchvision's names of its tensors",
        preprocessing=found.preprocessing,
        class_names=names,
        notes=tuple(map(one_line, notes)),
        asked=options,
        warnings=tuple(map(one_line, (*found.warnings, *warnings))),
        weights=checkpoint.weights,
        class_map=checkpoint.class_map,
        input_sources=found.sources,
        outputs=LOGITS if head.classes else (Output("embedding", "embedding"),),
        library="torchvision",
    )


def _asked_family(source: Source) -> Family | None:
    """The family that `--arch` names."""
    name = (source.asked.arch or "").removeprefix(PREFIX)
    return next((family for family in FAMILIES if name in (family.name, *family.variants)), None)


def _family_of(checkpoint: Checkpoint) -> Family | None:
    """The family whose names a checkpoint has, under any prefix."""
    for family in FAMILIES:
        if family.signature <= checkpoint.named_for(family.signature).state_dict.keys():
            return family
    return None


def _recognises(source: Source) -> bool:
    if source.asked.arch is not None:
        return source.asked.arch.startswith(PREFIX) or _asked_family(source) is not None
    return source.checkpoint.module is None and _family_of(source.checkpoint) is not None


def _arguments(
    source: Source, family: Family, shapes: Shapes, said: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """Arguments of the constructor, and the name in torchvision's registry, if there is one.

    Raises:
        MptqError: the shapes are not those of the architecture that is asked for, or do not show all arguments.
    """
    name, path = (source.asked.arch or "").removeprefix(PREFIX), source.checkpoint.path
    try:
        shown = family.arguments(shapes)
    except (KeyError, ValueError, ZeroDivisionError, StopIteration) as error:
        raise MptqError(
            f"{path} has the names of a {family.name}, but not its shapes ({error}); get the file again"
        ) from error
    known = inspect.signature(family.build).parameters
    unknown = [key for key in source.asked.model_kwargs if key not in known]
    if unknown:
        raise MptqError(f"--model-kwargs: torchvision's {family.name} takes no {unknown[0]}; leave it out")
    given = {key: value for key, value in said.items() if key in known and key not in ("num_classes", "input_size")}
    arguments = {**shown, **given}
    arch = family.variant(arguments)
    if name in family.variants and arch != name:
        other = f"those of {arch}" if arch else f"of {shown}"
        raise MptqError(f"{path} does not fit --arch {source.asked.arch}: its shapes are {other}; leave --arch out")
    if arch is not None:
        arguments = {**arguments, **family.variants[arch]}
    elif "num_heads" in known and "num_heads" not in arguments:
        raise MptqError(
            f"{path} is a VisionTransformer of {shown['hidden_dim']} channels, and its tensors do not show how "
            "many heads it has; pass --model-kwargs '{\"num_heads\": N}'"
        )
    return arguments, arch


def _size(
    source: Source, family: Family, arguments: Mapping[str, Any], arch: str | None
) -> tuple[tuple[int, int], str]:
    """(height, width) of the input, and who says so.

    Raises:
        MptqError: nobody does, or the user wants another size than the weights have.
    """
    asked, path = source.asked.inputs.img_size, source.checkpoint.path
    shown = arguments.get("image_size")
    if source.asked.inputs.in_chans not in (None, 3):
        raise MptqError(
            f"--in-chans {source.asked.inputs.in_chans}: torchvision's models take 3 channels; leave it out"
        )
    if shown is not None:
        if asked not in (None, (shown, shown)):
            raise MptqError(f"{path} is for images of {shown}x{shown}; leave --img-size out")
        return (shown, shown), "the weights"
    if asked is not None:
        return asked, "--img-size"
    default = default_size(arch)
    if default is None:
        raise MptqError(f"nothing in {path} says how large its images are; pass --img-size")
    return (default, default), f"the default of {arch}, which nothing in the checkpoint confirms"


def _size_argument(family: Family, size: tuple[int, int]) -> dict[str, Any]:
    return {"input_size": size} if family.size == "input_size" else {}


def _built(source: Source, family: Family, arguments: Mapping[str, Any], head: Head) -> nn.Module:
    """The model with the classifier that the file has."""
    try:
        with torch.device("meta"):
            empty = family.build(**arguments)
        check_memory(
            f"the float model {family.name}",
            4.0 * sum(parameter.numel() for parameter in empty.parameters()),
            "use a machine with more, or a smaller model",
        )
        model = family.build(**arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MptqError(
            f"torchvision cannot build the {family.name} of {source.checkpoint.path} ({first[:200]}); check --img-size "
            "and --model-kwargs"
        ) from error
    model.set_submodule(head.place, head.layer())
    return model


def _fill(model: nn.Module, tensors: Mapping[str, torch.Tensor], problem: str) -> None:
    """Load the tensors.

    Raises:
        MptqError: some are missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    other = [name for name, tensor in tensors.items() if name in wanted and tensor.shape != wanted[name].shape]
    if other:
        pairs = (f"{name} {list(tensors[name].shape)} instead of {list(wanted[name].shape)}" for name in other[:_SHOWN])
        raise MptqError(f"{problem}: {', '.join(pairs)}; check --img-size and --model-kwargs")
    found = model.load_state_dict(dict(tensors), strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(_OWN)]
    for word, names in (("missing", missing), ("unexpected", found.unexpected_keys)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise MptqError(
                f"{problem}: {word} {', '.join(names[:_SHOWN])}{more}; get the whole file, or its own --arch"
            )


LOADER = Loader(_recognises, load_state_dict)
