"""Inputs that come one after the other and must all be kept."""

import numpy as np

from mptq_export.data.sources.source import Inputs
from mptq_export.support.limits import check_memory

_FIRST = 64
"""Inputs that there is room for at first; it doubles."""


class HeldInputs:
    """Inputs in one array that grows, within the memory that is free.

    Attributes:
        count: how many there are.
    """

    def __init__(self, size: tuple[int, int, int], what: str) -> None:
        """No memory is taken yet.

        Args:
            size: of an input.
            what: the inputs are of, for messages.
        """
        self._size, self._what = size, what
        self._values = np.empty((0, *size), np.float32)
        self.count = 0

    @property
    def values(self) -> Inputs:
        """All so far, without a copy."""
        return self._values[: self.count]

    def add(self, inputs: Inputs) -> None:
        """Keep some more.

        Raises:
            MptqError: there is no memory for them.
        """
        needed = self.count + len(inputs)
        if needed > len(self._values):
            room = max(needed, 2 * len(self._values), _FIRST)
            one = 4 * int(np.prod(self._size))
            check_memory(f"holding {needed} inputs of {self._what}", one * needed, "use fewer (count)")
            grown = np.empty((room, *self._size), np.float32)
            grown[: self.count] = self.values
            self._values = grown
        self._values[self.count : needed] = inputs
        self.count = needed
