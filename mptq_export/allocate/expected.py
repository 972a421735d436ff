"""What a search of widths should take, before it is done: its stages, with seconds on one core of the measured machine.

Free of torch: an export tells its time before anything is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.image_split import ImageSplit
from mptq_export.allocate.request import SearchRequest
from mptq_export.quantize.expected import importance_seconds, walk_seconds
from mptq_export.quantize.method import Method
from mptq_export.support.progress import Engine, Expected
from mptq_export.support.size import Size

TRANSFORMS, CATALOGUE, TIMING = "choosing transforms", "quantizing at every width", "timing widths"
TABLE, STEPS, PROPOSALS = "estimating every layer", "searching", "comparing proposals"

AGAIN = "second look: "
"""Begins the names of all stages on the base of widths that were found."""

#: Mean widths below which estimates often do not add up, so that there is a second look; what was found decides.
_FEW = 3.5

#: Mean width that is assumed where the budget is of another kind.
_USUAL = 5.0

#: Measured candidates a mean bit, as long as nothing was rehearsed; of a second look.
_PER_BIT, _PROPOSED = 8, 8

#: Seconds to measure how large files are.
_SIZES = 1.0

#: Widths that a second look has of a unit.
_NEAR = 3


@dataclass(frozen=True)
class SearchWork:
    """What decides how long a search takes.

    Attributes:
        size: of the model.
        images: calibration images.
        method: which techniques are used.
        settings: what is searched.
        timed: whether widths are timed.
        rebased: whether there may be a second look.
    """

    size: Size
    images: int
    method: Method
    settings: SearchRequest
    timed: bool = True
    rebased: bool = True

    @property
    def _split(self) -> tuple[int, int]:
        split = ImageSplit.of(self.images)
        return len(split.fitting), len(split.measuring)

    @property
    def candidate(self) -> float:
        """Seconds of one measured candidate: on average those layers go through it that are not before its change."""
        return self._split[1] * (4e-11 * self.size.macs + 5e-9 * self.size.numbers)

    def seconds(self) -> dict[str, float]:
        """Of every stage but a second look, before anything is known of the table."""
        domain = self.settings.widths
        widths = max(len(domain.weights), len(domain.activations))
        distance = 2 * domain.highest[0] - 2 * min(map(_mean_width, self.settings.budgets))
        return {
            TRANSFORMS: _SIZES + self._transforms + importance_seconds(self.size, self.images, self.method),
            CATALOGUE: self._catalogue(widths),
            TIMING: self._timing(widths),
            TABLE: self._table(widths),
            STEPS: _PER_BIT * max(distance, 1.0) * self.candidate,
        }

    def again(self) -> list[tuple[str, float]]:
        """Of a second look at one result: what its base proposes, and how the best of that is on its own."""
        return [
            (TRANSFORMS, self._transforms),
            (CATALOGUE, self._catalogue(_NEAR)),
            (TABLE, self._table(_NEAR)),
            (PROPOSALS, _PROPOSED * self.candidate),
            (TRANSFORMS, self._transforms),
            (CATALOGUE, self._catalogue(1) + self.candidate),
        ]

    @property
    def _transforms(self) -> float:
        return walk_seconds(self.size, self.images, self.method, fits=False)

    def _catalogue(self, widths: int) -> float:
        """Weights are fitted once and rounded at every width; so are activations, which read the same sample."""
        once = walk_seconds(self.size, self._split[0], self.method)
        rounding = walk_seconds(Size(columns=self.size.columns, solving=self.size.solving), 0, self.method)
        return once + (widths - 1) * rounding

    def _timing(self, widths: int) -> float:
        return widths * (0.3 + 9e-10 * self.size.macs + 5e-5 * self.size.columns) if self.timed else 0.0

    def _table(self, widths: int) -> float:
        return self._split[1] * widths * (1.6e-10 * self.size.macs + 2e-4 * self.size.layers)


def search_stages(works: Sequence[SearchWork]) -> list[Expected]:
    """All stages of a search, as far as they are known before it.

    Args:
        works: of each model; they share the budgets.
    """
    each, first = [work.seconds() for work in works], works[0]
    found = [Expected(label, sum(one[label] for one in each), _engine(label)) for label in each[0]]
    looks = sum(_mean_width(budget) <= _FEW for budget in first.settings.budgets)
    return found + second_looks(works, looks if first.rebased else 0)


def steps(works: Sequence[SearchWork], measured: int) -> Expected:
    """That of greedy, where it measures so many candidates."""
    return Expected(STEPS, measured * sum(work.candidate for work in works))


def second_looks(works: Sequence[SearchWork], count: int) -> list[Expected]:
    """Those of so many results; without any they take no time."""
    stages = zip(*(work.again() for work in works), strict=True)
    one = [Expected(AGAIN + each[0][0], min(count, 1) * sum(seconds for _, seconds in each)) for each in stages]
    return one * max(count, 1)


def _engine(label: str) -> Engine:
    return "file" if label == TIMING else "torch"


def _mean_width(budget: Budget) -> float:
    """The mean width that a budget leaves, roughly: of other kinds nobody knows before sizes and times are measured."""
    return budget.most if budget.kind == "bits" else _USUAL
