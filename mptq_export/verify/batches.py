"""Is the result for an input the same in any batch? And how much of a batch fits into memory with all its tensors."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.runtime.graph_input import GraphInput
from mptq_export.support.errors import MptqError
from mptq_export.verify.difference import Difference, difference

Array = NDArray[Any]
Run = Callable[[dict[str, Array]], dict[str, Array]]

#: Bytes of all tensors of a batch, of which a comparison holds two: an input of DeiT-tiny has 0.1 GB, of ViT-B 0.4 GB.
MOST_BYTES = 2**29


class BatchCheck:
    """Runs batches of inputs that may stand alone, and compares their results with those of each input alone.

    Attributes:
        sizes: how many inputs ran in batches of each size.
        outputs_only: how many of them ran in batches of which the outputs alone were compared, for their tensors would
            not fit.
        differences: for each output, the batch against its inputs alone, bit by bit; empty where no batch was larger
            than one, or the file fixes it.
    """

    def __init__(self, run: Run, spec: GraphInput, most_bytes: float) -> None:
        """Prepare.

        Args:
            run: the default session.
            spec: the graph's input.
            most_bytes: tensors of larger batches are taken from their inputs alone.
        """
        self.sizes: Counter[int] = Counter()
        self.outputs_only = 0
        self.differences: dict[str, Difference] = {}
        self._run, self._spec, self._most = run, spec, most_bytes
        self._free = not spec.shape or not isinstance(spec.shape[0], int)
        self._largest = 0
        self._running = 1

    def parts(self, batch: Array) -> Iterator[dict[str, Array]]:
        """What is to be compared tensor by tensor for a batch: the whole of it, or its inputs alone.

        Raises:
            MptqError: the file takes one input and not several.
        """
        size = len(batch)
        self.sizes[size] += size
        self._running = size
        rows = [batch[i : i + 1] for i in range(size)]
        whole = size == 1 or not self._free or size * self._largest <= self._most
        yield from ({self._spec.name: part} for part in ([batch] if whole else rows))
        if size > 1 and self._free:
            self.outputs_only += 0 if whole else size
            self._compare(batch, rows)

    def traced(self, nbytes: int, inputs: int) -> None:
        """Note how much memory the tensors of so many inputs take."""
        self._largest = max(self._largest, nbytes // max(inputs, 1))

    @property
    def where(self) -> str:
        """What to add to a complaint that came while a batch ran: nothing, or that it ran at one."""
        if self._running == 1 or not self._free or not self.sizes[1]:
            return ""
        return f" with {self._running} inputs at once, though it leaves the batch free and one runs (see --batch)"

    def _compare(self, batch: Array, rows: list[Array]) -> None:
        alone = [self._run({self._spec.name: row}) for row in rows]
        try:
            together = self._run({self._spec.name: batch})
        except MptqError as error:
            raise MptqError(
                f"the file leaves its batch free and runs one input, but not {len(rows)} at once ({error}); export it "
                "again, or verify it with --batch 1"
            ) from error
        for name, value in together.items():
            found = self.differences.get(name, Difference())
            self.differences[name] = found + _against(value, [one[name] for one in alone])


def _against(together: Array, alone: list[Array]) -> Difference:
    """An output of a batch against that of each input; one that does not grow with the batch must be each of them."""
    if together.ndim and len(together) != len(alone[0]):
        return difference(together, np.concatenate(alone))
    return sum((difference(together, one) for one in alone), Difference())
