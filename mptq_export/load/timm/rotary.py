"""Rotary positions: are the angles that a checkpoint holds those that its model computes?

No model of timm keeps them: periods, frequencies, cosines and sines follow from its configuration, and those of a file
are left out. They are compared nevertheless: a base, a grid or a resolution of its own changes every attention, and no
shape tells.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.layers.pos_embed_sincos import freq_bands, pixel_freq_bands
from torch import Tensor, nn

from mptq_export.support.errors import MptqError

ROTARY = re.compile(r"(^|\.)rope[^.]*\.(?P<kind>periods|freqs_cos|freqs_sin|inv_freq)$")
"""Names of the tensors."""

TOLERANCE = 2.0**-8
"""What a file in bfloat16 rounds away: of periods and frequencies a part, of cosines and sines so much. Another base of
the angles, or another grid, is beyond it by far."""

_PERIODS, _FREQUENCIES = ("periods",), ("inv_freq", "bands")


def check_rotary(path: Path, stored: Mapping[str, Tensor], model: nn.Module, arch: str) -> tuple[str, ...]:
    """Hold the rotary angles of a checkpoint against those of the model.

    Args:
        path: the checkpoint, for the message.
        stored: tensors of it that have no place in the model.
        model: with its buffers in memory.
        arch: its name, for the message.

    Returns:
        A warning for each kind that differs by more than `TOLERANCE`, naming the first tensor.

    Raises:
        MptqError: the model has no rotary positions at all.
    """
    differing: dict[str, list[str]] = {}
    for name, tensor in stored.items():
        match = ROTARY.search(name)
        if match is None:
            continue
        if not any(hasattr(module, "get_embed") for module in model.modules()):
            raise MptqError(
                f"{path} has rotary positions ({name}), and {arch} has none: it would compute something else; pass the "
                "--arch of training"
            )
        if not any(_agree(tensor, own, match["kind"]) for own in _computed(match["kind"], model)):
            differing.setdefault(match["kind"], []).append(name)
    return tuple(
        f"{names[0]}{f' and {len(names) - 1} more like it' if len(names) > 1 else ''} differs from the rotary "
        f"{_WORDS[kind]} of this architecture, which are taken: the model was trained with others, or for another "
        "--arch or --img-size"
        for kind, names in differing.items()
    )


_WORDS = {"periods": "periods", "inv_freq": "frequencies", "freqs_cos": "cosines", "freqs_sin": "sines"}


def _computed(kind: str, model: nn.Module) -> Iterator[Tensor]:
    """What the model itself has of a kind; a frequency is what 1 / period is."""
    if kind in ("freqs_cos", "freqs_sin"):
        for sine, cosine in _embeddings(model):
            yield cosine if kind == "freqs_cos" else sine
        return
    for name, buffer in model.named_buffers():
        last = name.rpartition(".")[2]
        if last in (*_PERIODS, *_FREQUENCIES):
            yield buffer if (last in _PERIODS) == (kind in _PERIODS) else 1 / buffer
    for module in model.modules():
        if hasattr(module, "get_embed") and getattr(module, "bands", module) is None:
            bands = _bands(module)  # of a grid that it knows, an older timm keeps the angles alone
            yield 1 / bands if kind in _PERIODS else bands


def _bands(module: Any) -> Tensor:
    """The frequencies that a `RotaryEmbeddingCat` computed its angles from."""
    if module.in_pixels:
        found = pixel_freq_bands(module.dim // 4, float(module.max_res), linear_bands=module.linear_bands)
    else:
        found = freq_bands(module.dim // 4, temperature=module.temperature, step=1)
    return torch.as_tensor(found)


def _embeddings(model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Sines and cosines, each (positions, channels), of every rotary embedding for the model's own grid of patches."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    for module in model.modules():
        get_embed = getattr(module, "get_embed", None)
        if grid is None or get_embed is None or isinstance(getattr(module, "freqs", None), nn.Parameter):
            continue  # learned frequencies stand in the checkpoint under a name of their own
        found = get_embed(list(grid))
        sine, cosine = found if isinstance(found, tuple) else found.chunk(2, dim=-1)
        yield sine, cosine


def _agree(stored: Tensor, own: Tensor, kind: str) -> bool:
    if stored.squeeze().shape != own.squeeze().shape:
        return False
    relative, absolute = (0.0, TOLERANCE) if kind.startswith("freqs_") else (TOLERANCE, 0.0)
    stored, own = stored.squeeze().to(torch.float64), own.squeeze().to(torch.float64)
    return torch.allclose(stored, own, rtol=relative, atol=absolute)
