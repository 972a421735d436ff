"""A change of names, watched: what it leaves out, what it makes up, what it computes.

A conversion of another project's tensors renames, reshapes, splits and joins them, and may drop some without a word.
Where each value ends up is found by running it: a tensor that comes out as a view of itself is settled. The conversion
then runs once more with the other tensors replaced by tags, a number of its own for every value: a tag that comes out
tells which value went there, the sum of two tags which two were added, a tag that does not come out is a value that was
dropped, and any other number was computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Change = Callable[[dict[str, Tensor]], dict[str, Tensor] | None]
"""A conversion; None where it knows no way for these names."""

_BITS = 52
"""Tags are whole numbers that float64 holds exactly, and so are the sums of two."""
_ODD = (0x9E3779B97F4A7, 0xBF58476D1CE4F, 0x94D049BB13311)
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True)
class Converted:
    """What came out.

    Attributes:
        tensors: under the model's names.
        dropped: stored tensors that end up nowhere, as stored.
        cut: stored tensors of which a part that is not zero ends up nowhere: how many values.
        computed: names of the model whose values are none of the file's: resampled or made up.
        sums: names of the model whose every value is the sum of two of the file's, with the stored names of the two.
    """

    tensors: dict[str, Tensor]
    dropped: dict[str, Tensor] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    sums: dict[str, tuple[str, str]] = field(default_factory=dict)

    def told_sums(self) -> tuple[str, ...]:
        """A sentence for each sum."""
        return tuple(f"{name} is the sum of {one} and a part of {other}" for name, (one, other) in self.sums.items())


def followed(stored: Mapping[str, Tensor], change: Change) -> Converted:
    """Run a conversion and say where every value went; unchanged where it knows no way.

    Added biases that are all zero are neither missed where they are dropped nor minded where they are made up.

    Args:
        stored: tensors of the checkpoint.
        change: the conversion. It must do the same with other values.
    """
    named = dict(stored)
    found = change(dict(named))
    if found is None:
        return Converted(named)
    settled, made = _settled(named, found)
    open_ends = {name: tensor for name, tensor in named.items() if name not in settled}
    tags, starts = _tagged(open_ends)
    tagged = (change({**named, **tags}) if open_ends else None) or {}
    trace = _Trace({name: np.zeros(tensor.numel(), bool) for name, tensor in open_ends.items()}, starts, tags)
    computed = tuple(name for name, out in made.items() if not trace.takes(name, out, tagged.get(name)))
    dropped, cut = {}, {}
    for name, places in trace.seen.items():
        lost = open_ends[name].reshape(-1)[torch.from_numpy(~places)]
        if len(lost) == 0 or (name.endswith("bias") and not lost.any()):
            continue
        if places.any():
            cut[name] = len(lost)
        else:
            dropped[name] = open_ends[name]
    return Converted(found, dropped, cut, computed, trace.sums)


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


@dataclass
class _Trace:
    """Which values were seen.

    Attributes:
        seen: for every open end, which of its values came out.
        starts: index of its first tag.
        tags: its tags.
        sums: outputs that are sums of two, with the names of the two.
    """

    seen: dict[str, NDArray[np.bool_]]
    starts: dict[str, int]
    tags: dict[str, Tensor]
    sums: dict[str, tuple[str, str]] = field(default_factory=dict)

    def takes(self, name: str, out: Tensor, tagged: Tensor | None) -> bool:
        """Whether an output holds nothing but stored values, or sums of two, whose places are then marked.

        A bias of zeros needs none.
        """
        if name.endswith("bias") and not out.any() and (tagged is None or not tagged.any()):
            return True
        if tagged is None or tagged.dtype != torch.float64 or tagged.shape != out.shape:
            return False
        values = tagged.detach().reshape(-1).numpy()
        return self._marks(values) is not None or self._adds(name, values)

    def _marks(self, values: NDArray[np.float64], but: str = "") -> str | None:
        """Mark the places of values that are all stored ones, and none of a tensor that does not count; else none.

        Returns:
            The first tensor that they are of, empty where there is no value; None where nothing was marked.
        """
        index = _index_of(values)
        names, firsts = list(self.starts), np.array(list(self.starts.values()), dtype=np.int64)
        last = firsts[-1] + self.seen[names[-1]].size if names else 1
        if not ((index >= 1) & (index < last)).all():
            return None
        owners = np.searchsorted(firsts, index, side="right") - 1
        counts = np.bincount(owners, minlength=len(names))
        held = [names[owner] for owner in np.flatnonzero(counts)]
        if but in held:
            return None
        for name in held:
            start, places = self.starts[name], self.seen[name]
            own = index if len(held) == 1 else index[(index >= start) & (index < start + places.size)]
            places[own - start] = True
        return held[0] if held else ""

    def _adds(self, name: str, values: NDArray[np.float64]) -> bool:
        """Whether the values are a whole stored tensor plus values of others."""
        for stored, tags in self.tags.items():
            if tags.numel() != len(values):
                continue
            other = self._marks(values - tags.reshape(-1).numpy(), but=stored)
            if other:
                self.seen[stored][:] = True
                self.sums[name] = (stored, other)
                return True
        return False
