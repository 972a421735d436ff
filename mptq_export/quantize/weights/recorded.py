"""Work on blocks of columns as CUDA graphs: a GPU needs longer to be told of a small step than to do it.

The steps of a block are recorded once for every shape and every kind of codes, and then started together. On a CPU the
work is called as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from mptq_export.quantize.weights.columns import Codes, Tensors
from mptq_export.quantize.weights.level_codes import LevelCodes

#: Rows of a graph are a multiple of so many, or nearly every call would need one of its own.
_ROWS = 1024

#: All that were recorded: some megabytes each.
_graphs: dict[object, "_Graph"] = {}


def rows_added(rows: torch.Tensor) -> int:
    """How many rows are put behind some, [rows, K], so that few graphs do."""
    return -len(rows) % _ROWS if rows.is_cuda else 0


def run_recorded(work: Callable[..., Tensors], allowed: Codes, *blocks: torch.Tensor) -> Tensors:
    """What work on a block gives, its graph recorded where there is none yet.

    Args:
        work: takes the blocks and the codes; graphs are kept by it, so it must be a function of a module.
        allowed: the codes.
        blocks: on one device; they may be changed.

    Returns:
        What the work returns; on a GPU the next call overwrites it.
    """
    if blocks[0].device.type != "cuda":
        return work(*blocks, allowed)
    tensors = (*blocks, *(allowed.tensors if isinstance(allowed, LevelCodes) else ()))
    kind = "levels" if isinstance(allowed, LevelCodes) else allowed
    key = (work, kind, blocks[0].device, *(tensor.shape for tensor in tensors))
    if key not in _graphs:
        _graphs[key] = _Graph.record(partial(_call, work, allowed, len(blocks)), tensors)
    return _graphs[key].run(tensors)


def _call(work: Callable[..., Tensors], allowed: Codes, count: int, tensors: Tensors) -> Tensors:
    codes = allowed.of_tensors(tensors[count:]) if isinstance(allowed, LevelCodes) else allowed
    return work(*tensors[:count], codes)


@dataclass(frozen=True)
class _Graph:
    """Recorded work.

    Attributes:
        graph: its steps.
        given: where it reads.
        found: where it writes.
    """

    graph: torch.cuda.CUDAGraph
    given: Tensors
    found: Tensors

    @staticmethod
    def record(work: Callable[[Tensors], Tensors], tensors: Tensors) -> "_Graph":
        given = tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors)
        beside = torch.cuda.Stream(given[0].device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(given[0].device))
        with torch.cuda.device(given[0].device), torch.cuda.stream(beside):
            work(given)  # what libraries set up at a first call cannot be recorded
        torch.cuda.current_stream(given[0].device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(given[0].device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = work(given)
        return _Graph(graph, given, found)

    def run(self, tensors: Tensors) -> Tensors:
        """The work of other tensors of the same shapes."""
        for own, tensor in zip(self.given, tensors, strict=True):
            own.copy_(tensor)
        self.graph.replay()
        return self.found
