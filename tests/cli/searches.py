"""What the tests of searches share: a short one from the command line, and what breaks it off."""

from pathlib import Path
from typing import Any

import pytest

from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.units import Widths

from .helpers import run

#: Few and narrow: the levels of 5 bits alone take longer than a search of these.
RANGE = ("--mixed-range", "2-4")
SUFFIXES = ("onnx", "recipe.json", "recipe.safetensors", "search.json")

_MEASURE = Evaluator.divergences


def mixed(work: Path, *arguments: object, budget: object = 3) -> Any:
    return run(work / "m.pt", "--calib", work / "calib", "--mixed", budget, *RANGE, *arguments)


def cut_at(count: int, patch: pytest.MonkeyPatch) -> None:
    """Break a search at its Nth measurement; 0 lets it pass."""
    left = [count]

    def divergences(self: Evaluator, widths: Widths) -> list[float]:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return _MEASURE(self, widths)

    patch.setattr(Evaluator, "divergences", divergences)
