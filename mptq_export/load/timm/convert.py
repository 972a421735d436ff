"""timm's conversion of other projects' checkpoints, watched: what it leaves out, what it makes up, what it changes.

timm's `checkpoint_filter_fn` renames, reshapes, splits and joins tensors, and drops some without a word. Where each
value ends up is found by running it: a tensor that comes out as a view of itself is settled. The filter then runs once
more with the other tensors replaced by tags, a number of its own for every value: a tag that comes out tells which
value went there, a tag that does not is a value that was dropped, and any other number was computed.
"""

import contextlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_BITS = 52
"""Tags are whole numbers that float64 holds exactly."""
_ODD = (0x9E3779B97F4A7, 0xBF58476D1CE4F, 0x94D049BB13311)
_MASK = (1 << _BITS) - 1
_FAILURES = (KeyError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError, TypeError)
_BIAS_MASK = ".bias_mask"


@dataclass(frozen=True)
class Converted:
    """What came out.

    Attributes:
        tensors: under the model's names.
        dropped: stored tensors that end up nowhere, as stored.
        cut: stored tensors of which a part that is not zero ends up nowhere: how many values.
        computed: names of the model whose values are none of the file's: resampled, summed or made up.
    """

    tensors: dict[str, Tensor]
    dropped: dict[str, Tensor] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    computed: tuple[str, ...] = ()


def convert(tensors: Mapping[str, Tensor], model: nn.Module) -> Converted:
    """Rename as timm does for checkpoints of other projects; unchanged where it knows no way.

    Added biases that are all zero are neither missed where they are dropped nor minded where they are made up.

    Args:
        tensors: of the checkpoint.
        model: that they shall fit; it may be without memory.
    """
    named = masked(tensors)
    found = _filtered(named, model)
    if found is None:
        return Converted(dict(tensors))
    settled, made = _settled(named, found)
    open_ends = {name: tensor for name, tensor in named.items() if name not in settled}
    tags, starts = _tagged(open_ends)
    tagged = (_filtered({**named, **tags}, model) if open_ends else None) or {}
    seen = {name: np.zeros(tensor.numel(), bool) for name, tensor in open_ends.items()}
    computed = tuple(name for name, out in made.items() if not _traced(name, out, tagged.get(name), seen, starts))
    dropped, cut = {}, {}
    for name, places in seen.items():
        lost = open_ends[name].reshape(-1)[torch.from_numpy(~places)]
        if len(lost) == 0 or (name.endswith("bias") and not lost.any()):
            continue
        if places.any():
            cut[name] = len(lost)
        else:
            dropped[name] = open_ends[name]
    return Converted(found, dropped, cut, computed)


def masked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3 stores the bias of keys with a mask of zeros: the bias that counts is their product."""
    named = dict(tensors)
    for name, mask in tensors.items():
        bias = name.removesuffix("_mask")
        if name.endswith(_BIAS_MASK) and bias in named and named[bias].shape == mask.shape:
            named[bias] = named[bias] * mask
    return named


def _filtered(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it could not find
            found = convert(dict(tensors), model)
    except _FAILURES:
        return None
    return found if all(isinstance(tensor, Tensor) for tensor in found.values()) else None


def _settled(stored: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[set[str], dict[str, Tensor]]:
    """Stored tensors that came out whole, as views of their memory, and what came out and is none of them."""
    free: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in stored.items():
        if _is_dense(tensor):
            free.setdefault(_memory(tensor), []).append(name)
    settled: set[str] = set()
    made: dict[str, Tensor] = {}
    for name, out in found.items():
        same = free.get(_memory(out), []) if _is_dense(out) else []
        if not same:
            made[name] = out
            continue
        settled.add(same.pop(0) if len(same) > 1 else same[0])  # tied tensors come out one by one
    return settled, made


def _memory(tensor: Tensor) -> tuple[int, ...]:
    start = tensor.untyped_storage().data_ptr()
    return start, int(tensor.storage_offset()), tensor.numel(), tensor.element_size()


def _is_dense(tensor: Tensor) -> bool:
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _tagged(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The same shapes with a number of its own for every value, and the index of each first one.

    Sums, means and multiples of tags are no tags, and 0 is none.
    """
    tags, starts, start = {}, {}, 1
    for name, tensor in tensors.items():
        mixed = np.arange(start, start + tensor.numel(), dtype=np.uint64)
        for odd in _ODD:
            mixed = _folded((mixed * np.uint64(odd)) & np.uint64(_MASK))
        tags[name] = torch.from_numpy(mixed.astype(np.float64)).reshape(tensor.shape)
        starts[name] = start
        start += tensor.numel()
    return tags, starts


def _folded(mixed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Upper bits into lower ones: its own inverse, and what makes the numbers not linear."""
    folded: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(_BITS // 2))
    return folded


def _index_of(tags: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index that each tag stands for; one that no tensor has for what is no tag."""
    is_tag = (tags >= 0) & (tags <= _MASK) & (tags == np.floor(tags))
    mixed = np.where(is_tag, tags, 0).astype(np.uint64)
    for odd in reversed(_ODD):
        mixed = (_folded(mixed) * np.uint64(pow(odd, -1, 1 << _BITS))) & np.uint64(_MASK)
    return np.where(is_tag, mixed, np.uint64(_MASK)).astype(np.int64)


def _traced(
    name: str, out: Tensor, tagged: Tensor | None, seen: dict[str, NDArray[np.bool_]], starts: dict[str, int]
) -> bool:
    """Whether an output holds nothing but stored values, whose places are then marked, or is a bias of zeros."""
    if name.endswith("bias") and not out.any() and (tagged is None or not tagged.any()):
        return True
    if tagged is None or tagged.dtype != torch.float64 or tagged.shape != out.shape:
        return False
    index = _index_of(tagged.detach().reshape(-1).numpy())
    held = {
        stored: index[(index >= starts[stored]) & (index < starts[stored] + len(places))] - starts[stored]
        for stored, places in seen.items()
    }
    if sum(map(len, held.values())) != len(index):
        return False
    for stored, found in held.items():
        seen[stored][found] = True
    return True
