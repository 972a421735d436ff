"""Which timm model a checkpoint belongs to."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import timm

from mptq_export.load.file.advice import advice, beside
from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.timm.clip_activation import QUICK, activation_hint
from mptq_export.load.timm.fit import Hint, shapes_of
from mptq_export.load.timm.hub_config import HubConfig
from mptq_export.load.timm.infer import Candidate, fitting_models
from mptq_export.load.timm.infer_trained import trained_models
from mptq_export.load.timm.layouts.clip import is_openais
from mptq_export.load.timm.near import looks_like
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Architecture:
    """A timm model's name and arguments.

    Attributes:
        name: as `timm.create_model` takes it.
        model_kwargs: its arguments.
        source: where the name comes from, for people.
    """

    name: str
    model_kwargs: dict[str, Any]
    source: str


def resolve_architecture(
    checkpoint: Checkpoint,
    *,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    hints: Mapping[str, Hint] | None = None,
    stated: Mapping[str, Any] | None = None,
    names: Collection[str] | None = None,
    config: HubConfig | None = None,
    among: str = "*",
) -> Architecture:
    """Name the model: the user's word, else the checkpoint's, else what the tensors allow.

    Args:
        checkpoint: what was read.
        arch: the user's choice.
        model_kwargs: the user's arguments; each overrides the checkpoint's.
        hints: what is said of classes, channels and size.
        stated: what is said of the preprocessing; None: what the checkpoint's `pretrained_cfg` says.
        names: all names that tell what a tensor is; None: those of the tensors.
        config: the configuration beside the checkpoint, where it is about this model.
        among: what timm's names of such models look like.

    Raises:
        MptqError: the name is unknown to timm, or nothing names the model and the tensors fit none or several.
    """
    kwargs = {**checkpoint.model_kwargs, **(model_kwargs or {})}
    known = checkpoint.state_dict if names is None else names
    named = named_architecture(checkpoint)
    if arch is not None:
        said_by = arch, "--arch"
    elif named is not None:
        said_by = named, "named by the checkpoint"
    else:
        said_by = (config.architecture, f"named by {config.source}") if config is not None else ("", "")
    if said_by[0]:
        name, source = said_by
        seen = "" if timm.is_model(name) else looks_like(shapes_of(checkpoint.state_dict), known, name)
        if seen:
            raise MptqError(f"timm has no architecture {name!r}.{seen}")
        return Architecture(check_name(name, "" if arch else "; pass --arch NAME"), kwargs, source)
    said = checkpoint.pretrained_cfg if stated is None else stated
    candidates = trained_models(checkpoint, known, kwargs, said, hints)
    if candidates is None:
        stored = shapes_of(checkpoint.state_dict)
        candidates = fitting_models(stored, kwargs, said, hints, among=among, names=known)
    if is_openais(known):
        candidates = tuple(each for each in candidates if QUICK in each.name) or candidates
    return _the_one(checkpoint, kwargs, candidates, known)


def _the_one(
    checkpoint: Checkpoint, kwargs: dict[str, Any], candidates: tuple[Candidate, ...], known: Collection[str]
) -> Architecture:
    if not candidates:
        hint = looks_like(shapes_of(checkpoint.state_dict), known) or advice(checkpoint.path, checkpoint.state_dict)
        raise MptqError(
            f"{checkpoint.path} does not name its architecture, and its tensors fit no ViT, DeiT or Swin of timm; pass "
            f"--arch NAME, with --model-kwargs for a model of custom size.{hint}"
        )
    if len(candidates) > 1:
        functions = {candidate.function for candidate in candidates}
        named = ", ".join(candidate.name for candidate in candidates)
        differ = "compute different things" if len(functions) > 1 else "prepare images differently"
        raise MptqError(
            f"{checkpoint.path} does not name its architecture, and its tensors fit several that {differ}; pass "
            f"--arch with one of {named}{activation_hint(known)}.{beside(checkpoint.path)}"
        )
    (found,) = candidates
    also = f" (the same model as {', '.join(found.aliases)})" if found.aliases else ""
    return Architecture(found.name, kwargs, f"inferred from the tensors{also}")


def named_architecture(checkpoint: Checkpoint) -> str | None:
    """The first name in a checkpoint that timm knows, else the first of all; None where it names none."""
    return next(filter(timm.is_model, checkpoint.arches), next(iter(checkpoint.arches), None))


def check_name(name: str, mend: str = "") -> str:
    """Return the name if timm knows it.

    Args:
        name: to look for.
        mend: what to do about it, after a semicolon.

    Raises:
        MptqError: it does not; the nearest names are listed.
    """
    if timm.is_model(name):
        return name
    near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
    raise MptqError(f"timm has no architecture {name!r}; {hint}{mend}")
