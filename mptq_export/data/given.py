"""Calibration data that a program hands over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Given:
    """What a program gives, where it is no path.

    Attributes:
        data: an array or tensor of inputs, a list of files, or anything that `sources.python_data` reads; None where a
            path or nothing was given.
        transform: from a PIL image to the model's input; None for the model's preprocessing.
    """

    data: Any = None
    transform: Callable[..., Any] | None = None

    @property
    def anything(self) -> bool:
        """Whether anything was given: then no command line does the same."""
        return self.data is not None or self.transform is not None


NOTHING = Given()
