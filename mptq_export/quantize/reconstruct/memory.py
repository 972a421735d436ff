"""Batches that fit into a GPU's memory: where one does not, half of it is tried from then on."""

from collections.abc import Callable
from typing import TypeVar

import torch

from mptq_export.support.errors import MptqError

Found = TypeVar("Found")


class FittingBatches:
    """How many images are computed at once: fewer once memory has run out.

    What is learned does not depend on it, but for the last bits of sums: gradients of parts of a batch are added up.

    Attributes:
        size: images at once.
    """

    def __init__(self, size: int, warn: Callable[[str], None]) -> None:
        """Begin with a size; `warn` is told, once, that it became smaller."""
        self.size, self._warn, self._told = size, warn, False

    def run(self, work: Callable[[int], Found]) -> Found:
        """What `work` gives for the largest number of images at once that fits; it may be called again from the start.

        Raises:
            MptqError: a single image does not fit.
        """
        while True:
            try:
                return work(self.size)
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise MptqError(
                        "--reconstruct: the GPU has too little memory for a block with one image; use --device cpu"
                    ) from error
            self.size //= 2
            torch.cuda.empty_cache()
            if not self._told:
                self._told = True
                self._warn(f"--reconstruct: the GPU ran out of memory; it goes on with {self.size} images at a time")
