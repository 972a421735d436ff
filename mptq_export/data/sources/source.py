"""Calibration inputs of any kind behind one class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.classes import Folder
from mptq_export.data.comparison_images import FixedImages

Pixels = NDArray[np.uint8]
Inputs = NDArray[np.float32]


@dataclass(frozen=True)
class CalibrationSource:
    """Model inputs that can be read any number of times, in the same order.

    Attributes:
        count: number of inputs.
        description: what they are, for people.
        warnings: what the user should know, a sentence each.
        read: starts a pass; yields one (channels, height, width) float32 input at a time.
        comparison: inputs that exports are compared with float on, at most so many, of the same data; those that were
            not calibrated on where there are others.
        folders: the folders that hold images, relative to the data's, a name a level; empty where there are none.
        skipped: how many images were left out.
        held: all inputs, (inputs, channels, height, width), where they are in memory already.
        files: what they were read of, in order, where that is a file an input.
        available: how many there were to choose from; None where that is not known.
    """

    count: int
    description: str
    warnings: tuple[str, ...]
    read: Callable[[], Iterator[Inputs]]
    comparison: Callable[[int], FixedImages]
    folders: tuple[Folder, ...] = ()
    skipped: int = 0
    held: Inputs | None = None
    files: tuple[Path, ...] = ()
    available: int | None = None

    def batches(self, size: int) -> Iterator[Inputs]:
        """All inputs in batches.

        Args:
            size: inputs a batch; the last one may be smaller.

        Yields:
            (inputs, channels, height, width) float32.
        """
        inputs = self.read()
        while batch := list(islice(inputs, size)):
            yield np.stack(batch)
