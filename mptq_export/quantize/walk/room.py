"""Where values wait until they are read: in memory as far as a bound goes, beyond it in files that are mapped.

Nothing that is computed depends on it: a value in a file is a tensor like any other, in the memory of the CPU. Where a
GPU computes, a few images at a time move there.
"""

import math
import mmap
import weakref
from collections.abc import Iterable

import torch

from mptq_export.capture.mapped_tensors import in_file
from mptq_export.support.mapped import SHARE, leave_memory, memory_for_waiting

#: Bytes of what is kept from which on it may be in a file: a process may have a thousand of these open.
SMALL = 1 << 20


def memory_bound(device: torch.device) -> float:
    """Bytes of a device's memory that values may wait in, as much as is free now."""
    if device.type == "cuda":
        held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return SHARE * (torch.cuda.mem_get_info(device)[0] + held_back)
    return memory_for_waiting()


class Room:
    """Memory and files for what waits.

    Attributes:
        device: that computes; its memory is bounded.
        most: bytes of it that may be full.
    """

    def __init__(self, device: torch.device) -> None:
        """As large as what is free at the moment makes it."""
        self.device, self.most = device, memory_bound(device)
        self._kept = 0
        self._mapped: dict[int, weakref.ref[mmap.mmap]] = {}

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, waiting: Iterable[torch.Tensor]) -> torch.Tensor:
        """A tensor to be written.

        Args:
            shape: its sizes.
            dtype: its type.
            waiting: all that waits now.
        """
        nbytes = math.prod(shape) * dtype.itemsize
        if self._fits(nbytes, waiting):
            return torch.empty(shape, dtype=dtype, device=self.device)
        return self._in_file(shape, dtype)

    def settled(self, value: torch.Tensor, waiting: Iterable[torch.Tensor]) -> torch.Tensor:
        """A new value where it can wait: itself, where it fits or is a view of what waits already."""
        waiting = tuple(waiting)
        storages = {each.untyped_storage().data_ptr() for each in waiting}
        if value.untyped_storage().data_ptr() in storages or self.is_elsewhere(value):
            return value
        here = value.device.type == self.device.type
        if here and self._fits(value.untyped_storage().nbytes(), waiting):
            return value
        return self._in_file(tuple(value.shape), value.dtype).copy_(value)

    def fetched(self, value: torch.Tensor) -> torch.Tensor:
        """What waits, or some images of it, in the memory of the device that computes."""
        return value.to(self.device)

    def keep(self, value: torch.Tensor, waiting: Iterable[torch.Tensor]) -> torch.Tensor:
        """What is read again at the end of the walk only, where it can wait that long; arguments as for `settled`."""
        if value.device.type != "cpu" or value.nbytes < SMALL:  # on a GPU who reads it has no place to move it from
            return value
        if not self._fits(value.nbytes, waiting):
            return self._in_file(tuple(value.shape), value.dtype).copy_(value)
        self._kept += value.nbytes
        return value

    def rest(self) -> None:
        """Take what is in files out of the process's memory until it is read."""
        self._mapped = {place: each for place, each in self._mapped.items() if each() is not None}
        for each in self._mapped.values():
            mapping = each()
            if mapping is not None:
                leave_memory(mapping)

    def is_elsewhere(self, value: torch.Tensor) -> bool:
        """Whether a tensor lies in a file."""
        found = self._mapped.get(value.untyped_storage().data_ptr())
        return found is not None and found() is not None

    def _fits(self, nbytes: int, waiting: Iterable[torch.Tensor]) -> bool:
        """Whether so many bytes more stay within the bound."""
        storages = {
            each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
            for each in waiting
            if each.device.type == self.device.type and not self.is_elsewhere(each)
        }
        return nbytes + self._kept + sum(storages.values()) <= self.most or not nbytes

    def _in_file(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        value, mapping = in_file(shape, dtype)
        self._mapped[value.untyped_storage().data_ptr()] = weakref.ref(mapping)
        return value
