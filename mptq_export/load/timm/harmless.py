"""Tensors that a checkpoint may hold and the model need not have: each kind with the reason why it changes nothing."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mptq_export.load.timm.rotary import ROTARY


@dataclass(frozen=True)
class Harmless:
    """A kind of tensor.

    Attributes:
        names: what its names look like.
        reason: why the model gives the same without it.
        beside: only where the checkpoint also has a tensor whose name looks like this; empty: always.
    """

    names: re.Pattern[str]
    reason: str
    beside: re.Pattern[str] = re.compile("")


def _kind(names: str, reason: str, beside: str = "") -> Harmless:
    return Harmless(re.compile(names), reason, re.compile(beside))


#: In order; the first that matches counts.
_KINDS = (
    _kind(r"(^|\.)mask_token$", "it stands for patches that are masked in pretraining, and inference masks none"),
    _kind(
        r"(^|\.)(relative_position_index|relative_coords_table|attn_mask|attention_bias_idxs|rel_pos_idx)$",
        "a buffer that timm computes from the sizes of image and window",
    ),
    _kind(ROTARY.pattern, "rotary angles, which timm computes itself"),
    _kind(r"(^|\.)bias_mask$", "it was multiplied into the bias beside it"),
    _kind(r"(^|\.)n_averaged$", "it counts the models of an average"),
    _kind(r"(^|\.)num_batches_tracked$", "it counts batches of training"),
    _kind(r"(^|\.)(total_ops|total_params)$", "a profiler counted operations in it"),
    _kind(r"^outer_tokens$", "a constant of TNT's training code that nothing reads"),
    _kind(
        r"^(transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text_projection$|text\.|logit_(scale|bias)$)",
        "it belongs to the text tower, and only the image tower is exported",
        beside=r"^visual\.",
    ),
    _kind(
        r"^(input_resolution|context_length|vocab_size)$",
        "a size of the two towers, as OpenAI stores it",
        beside=r"^visual\.",
    ),
    _kind(
        r"^(text_encoder|text_model|text_decoder|text_tower)\.",
        "it belongs to the text tower, and only the image tower is exported",
        beside=r"^(vision_encoder|visual|vision_model|image_encoder)\.",
    ),
    _kind(
        r"^(decoder|decoder_[a-z_]+|mask_decoder|prompt_encoder)(\.|$)", "it belongs to a decoder behind the encoder"
    ),
    _kind(
        r"^((backbone\.)?simfp_\d+\.|(proposal_generator|roi_heads)\.|pixel_(mean|std)$)",
        "the pyramid or the detector behind the backbone",
        beside=r"(^|\.)net\.blocks\.\d+\.attn\.rel_pos_h$",
    ),
    _kind(r"^(projectors\.|local_cls_norm)", "a head of distillation or pretraining, not of the model"),
    _kind(r"^lm_head\.", "it predicts masked patches in pretraining", beside=r"(^|\.)mask_token$"),
    _kind(
        r"^(head|dino_head|ibot_head)\.(mlp\.(\d+\.)?(weight|bias)|last_layer\.)",
        "the projection of DINO's training, behind the features",
        beside=r"^(head|dino_head|ibot_head)\.last_layer\.",
    ),
)


def reason_of(name: str, names: Iterable[str]) -> str | None:
    """Why a tensor without a place changes nothing; None where it might.

    Args:
        name: of the tensor, as stored.
        names: all names of the checkpoint.
    """
    kind = next((kind for kind in _KINDS if kind.names.search(name)), None)
    if kind is None or not any(kind.beside.search(other) for other in names):
        return None
    return kind.reason


def needed(shapes: Mapping[str, tuple[int, ...]], names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """The shapes without those of tensors that change nothing.

    Args:
        shapes: of the checkpoint's tensors.
        names: all names that tell what a tensor is.
    """
    return {name: shape for name, shape in shapes.items() if reason_of(name, names) is None}


def told(names: Iterable[str], everything: Iterable[str]) -> tuple[str, ...]:
    """A sentence for each reason, with the names that it holds for."""
    reasons: dict[str, list[str]] = {}
    known = list(everything)
    for name in names:
        reasons.setdefault(str(reason_of(name, known)), []).append(name)
    return tuple(
        f"{held[0]}{f' and {len(held) - 1} more like it' if len(held) > 1 else ''} left out: {reason}"
        for reason, held in reasons.items()
    )


def disagreeing(stored: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """Stored buffers that are not what the model computes under the same name: they are of another size.

    Args:
        stored: tensors of the checkpoint that have no place.
        model: with its buffers in memory.
    """
    own = dict(model.named_buffers())
    return [name for name, tensor in stored.items() if name in own and not _same(tensor, own[name])]


def _same(stored: Tensor, own: Tensor) -> bool:
    """The shape of an index tells its window; values matter where they are not whole, as coordinates are."""
    if stored.shape != own.shape or not own.is_floating_point():
        return stored.shape == own.shape
    return torch.allclose(stored.to(torch.float64), own.to(torch.float64), rtol=1e-4, atol=1e-5)
