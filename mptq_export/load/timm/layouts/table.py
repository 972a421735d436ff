"""The names of all projects that are known here, and a checkpoint of one of them under timm's names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from timm.models import is_model, is_model_in_modules
from torch import Tensor, nn

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.timm.follow_values import followed
from mptq_export.load.timm.hub_config import HubConfig
from mptq_export.load.timm.layouts import clip, dinov2, jax_vit, mmpretrain, swin, vitdet
from mptq_export.load.timm.layouts.layout import Layout
from mptq_export.load.timm.layouts.unlike import unlike
from mptq_export.support.errors import MptqError

LAYOUTS: tuple[Layout, ...] = (
    clip.CLIP,
    clip.TRUNK,
    dinov2.DINOV2,
    mmpretrain.VIT,
    mmpretrain.SWIN,
    swin.SWIN,
    jax_vit.JAX_VIT,
    vitdet.VITDET,
)
"""The first that recognises a checkpoint converts it."""

_FAILURES = (KeyError, ValueError, RuntimeError, IndexError)
"""What a conversion raises where tensors have shapes that no such model has."""


@dataclass(frozen=True)
class Translated:
    """A checkpoint under timm's names, as far as they are known.

    Attributes:
        checkpoint: the same but for its tensors.
        names: of all tensors, as stored and as they are called now: what one of them is, its neighbours tell.
        models: what timm's names of such models look like.
        notes: what became one of two, a sentence each.
        heads: of every attention, where the stored shapes show them.
        layout: whose names they were; None for names that were left as they are.
        shown: architecture and arguments, where the tensors show them all.
    """

    checkpoint: Checkpoint
    names: frozenset[str]
    models: str = "*"
    notes: tuple[str, ...] = ()
    heads: int | None = None
    layout: Layout | None = None
    shown: HubConfig | None = None

    def prune(self, model: nn.Module) -> None:
        """Take away what timm's model has and the original has not."""
        if self.layout is not None and self.layout.prune is not None:
            self.layout.prune(model)

    def check_heads(self, model: nn.Module, arch: str) -> None:
        """Refuse a model with other heads than the checkpoint shows, where its layout shows them.

        Raises:
            MptqError: it has others.
        """
        own = {module.num_heads for path, module in model.named_modules() if path.endswith(".attn")}
        if self.heads is not None and own != {self.heads}:
            told = ", ".join(map(str, sorted(own)))
            raise MptqError(
                f"{self.checkpoint.path} has {self.heads} heads in every block, {arch} {told}; pass the right --arch, "
                f"or --model-kwargs with num_heads {self.heads}"
            )


def translated(checkpoint: Checkpoint, arch: str | None) -> Translated:
    """Give the tensors timm's names where they have those of another project.

    Args:
        checkpoint: what was read.
        arch: the timm name that its tensors shall fit, where one is known.

    Raises:
        MptqError: timm has no such model, or the conversion would lose values.
    """
    stored = checkpoint.state_dict
    names = frozenset({*stored, *checkpoint.beside})
    reason = unlike({*(checkpoint.prefix + name for name in stored), *checkpoint.beside})
    if reason:
        raise MptqError(f"{checkpoint.path} is {reason}")
    layout = next((each for each in LAYOUTS if each.recognises(stored) and _suits(each, arch)), None)
    if layout is None:
        return Translated(checkpoint, names)
    found = followed(stored, lambda named: _converted(layout, named))
    again = [layout.resampled] if layout.resampled in found.computed else []
    sources = [name for name in stored if layout.resampled and name.rpartition(".")[2] == layout.resampled]
    lost = [name for name in (*found.dropped, *found.cut, *found.computed) if name not in (*again, *sources)]
    if lost:
        raise MptqError(
            f"{checkpoint.path} has the names of {layout.project}, but {lost[0]} does not come through their "
            "conversion whole; save the state dict under timm's names"
        )
    notes = [f"the names are those of {layout.project}, converted to timm's", *found.told_sums()]
    notes += [
        f"{found.cut[name]} values of {name} left out, as in {layout.project}" for name in sources if name in found.cut
    ]
    notes += [f"{name} is resampled to this image size, as {layout.project} does it in every run" for name in again]
    converted = replace(checkpoint, state_dict=found.tensors)
    return Translated(
        converted,
        names | found.tensors.keys(),
        layout.models,
        tuple(notes),
        heads=jax_vit.heads_of(stored),
        layout=layout,
        shown=_shown(layout, stored),
    )


def _shown(layout: Layout, stored: Mapping[str, Tensor]) -> HubConfig | None:
    if layout.built is None:
        return None
    try:
        name, kwargs = layout.built(stored)
    except (*_FAILURES, ZeroDivisionError):
        return None
    return HubConfig(name, kwargs, None, {}, None, source="the weights")


def _suits(layout: Layout, arch: str | None) -> bool:
    name = (arch or "").partition(".")[0]
    return not is_model(name) or is_model_in_modules(name, layout.families)


def _converted(layout: Layout, named: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    try:
        return layout.convert(named)
    except _FAILURES:
        return None
