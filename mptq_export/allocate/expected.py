"""What a search of widths should take, before it is done: its stages, with seconds on one core of the measured machine.

Free of torch: an export tells its time before anything is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mptq_export.allocate.image_split import ImageSplit
from mptq_export.allocate.request import SearchRequest
from mptq_export.quantize.expected import importance_seconds, walk_seconds
from mptq_export.quantize.method import Method
from mptq_export.support.progress import Expected
from mptq_export.support.size import Size

TRANSFORMS, CATALOGUE, TIMING = "choosing transforms", "quantizing at every width", "timing widths"
TABLE, STEPS = "estimating every layer", "searching"

#: Candidates that are measured on the first bit down from the widest widths, and how many times as many on each bit
#: below, as long as nothing was rehearsed.
_FIRST, _MORE = 3.0, 1.6

#: How far a search goes down, as a share of the range, for budgets that are no mean widths.
_USUAL = 0.6

#: Seconds to search one more width of what a layer reads.
_WIDTH = 0.04

#: Seconds to measure how large files are.
_SIZES = 1.0


def asked_width(settings: SearchRequest) -> float:
    """The mean width of the weights under the smallest budget, as far as it is known before a search."""
    high, low = settings.widths.highest[0], settings.widths.lowest[0]
    usual = high - _USUAL * (high - low)
    return min(each.most if each.kind == "bits" else usual for each in settings.budgets)


@dataclass(frozen=True)
class SearchWork:
    """What decides how long a search takes.

    Attributes:
        size: of the model.
        images: calibration images.
        method: which techniques are used.
        settings: what is searched.
        exact: whether the file is of the exact form: widths are timed, and weights may have regions.
    """

    size: Size
    images: int
    method: Method
    settings: SearchRequest
    exact: bool = True

    @property
    def _split(self) -> tuple[int, int]:
        split = ImageSplit.of(self.images)
        return len(split.fitting), len(split.measuring)

    @property
    def candidate(self) -> float:
        """Seconds of one measured candidate: on average those layers go through it that are not before its change."""
        return self._split[1] * (4e-11 * self.size.macs + 5e-9 * self.size.numbers)

    def seconds(self) -> dict[str, float]:
        """Of every stage, before anything is known of the table."""
        domain = self.settings.widths
        widths = max(len(domain.weights), len(domain.activations))
        return {
            TRANSFORMS: _SIZES + self._transforms + importance_seconds(self.size, self.images, self.method),
            CATALOGUE: self._catalogue,
            TIMING: self._timing(widths),
            TABLE: self._table(widths),
            STEPS: self._measured * self.candidate,
        }

    @property
    def _measured(self) -> float:
        """Candidates, as far as is known: more and more of them the fewer bits are asked for."""
        down = max(1.0, self.settings.widths.highest[0] - asked_width(self.settings))
        return _FIRST * float(_MORE**down - 1) / (_MORE - 1)

    @property
    def _transforms(self) -> float:
        return walk_seconds(self.size, self.images, self.method)

    @property
    def _catalogue(self) -> float:
        """Weights are fitted once and rounded at every width; every width of activations is searched in one sample."""
        domain, images = self.settings.widths, self._split[0]
        once = walk_seconds(self.size, images, self.method, domain.weights, has_weight_regions=self.exact)
        return once + (len(domain.activations) - 1) * _WIDTH * self.size.layers

    def _timing(self, widths: int) -> float:
        return widths * (0.3 + 9e-10 * self.size.macs + 5e-5 * self.size.columns) if self.exact else 0.0

    def _table(self, widths: int) -> float:
        return self._split[1] * widths * (1.6e-10 * self.size.macs + 2e-4 * self.size.layers)


def search_stages(works: Sequence[SearchWork]) -> list[Expected]:
    """All stages of a search, as far as they are known before it.

    Args:
        works: of each model; they are searched together.
    """
    each = [work.seconds() for work in works]
    return [
        Expected(label, sum(one[label] for one in each), "file" if label == TIMING else "torch") for label in each[0]
    ]


def steps(works: Sequence[SearchWork], measured: int) -> Expected:
    """That of the steps, where so many candidates are measured."""
    return Expected(STEPS, measured * sum(work.candidate for work in works))
