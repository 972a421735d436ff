"""Tensors in files that are mapped: such as others, but the system may take their memory back."""

import math
import mmap
from contextlib import suppress
from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph
from mptq_export.support.errors import MptqError
from mptq_export.support.mapped import leave_memory, map_file

#: Bytes of weights that are put aside: fewer are soon checked.
MANY = 2**30

#: Bytes at whose multiples tensors begin, as those of torch do.
_ALIGNMENT = 64


def in_file(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, mmap.mmap]:
    """A tensor of one element or more, all zeros, in a file; and the mapping, which lives as long as the tensor.

    Raises:
        MptqError: the disk is full.
    """
    mapping = map_file(math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(mapping, dtype=dtype).reshape(shape), mapping


def put_aside(graph: Graph, many: int = MANY) -> Graph:
    """The graph with its weights in files, where they are many: the check of the finished file takes their memory.

    Args:
        graph: on the CPU.
        many: bytes from which on weights are put aside.
    """
    weights = {id(value): value for node in graph for value in node.params.values() if value.numel()}
    if sum(value.nbytes for value in weights.values()) < many:
        return graph
    moved: dict[int, torch.Tensor] = {}
    with suppress(MptqError):  # no room on the disk: they stay where they are
        room = sum(_aligned(value) for value in weights.values())
        everything, mapping = in_file((room,), torch.uint8)  # one file: a process may have a thousand open
        start = 0
        for key, value in weights.items():
            place = everything[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
            moved[key] = place.copy_(value)
            start += _aligned(value)
            leave_memory(mapping)

    def params(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: moved.get(id(value), value) for name, value in given.items()}

    return Graph((replace(node, params=params(node.params)) for node in graph), graph.output)


def _aligned(value: torch.Tensor) -> int:
    """Bytes of a tensor up to where the next one may begin."""
    return -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
