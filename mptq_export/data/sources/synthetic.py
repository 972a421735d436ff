"""Synthetic images to calibrate on, where there are no others."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from mptq_export.data.comparison_images import open_fixed
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.sources.folder import CACHED, normalised, reader
from mptq_export.data.sources.source import CalibrationSource, Pixels
from mptq_export.data.synthetic import draw_leaves

_SEED = 0


def from_nothing(preprocessing: Preprocessing, count: int) -> CalibrationSource:
    """Dead leaves, with a warning.

    Raises:
        MptqError: the model has other channels than pictures have.
    """
    preprocessing.check_pictures()
    channels, height, width = preprocessing.input_size

    def draw(start: int = 0) -> Iterator[Pixels]:
        for image in draw_leaves(count, max(height, width), _SEED, start):
            yield image[:height, :width, :channels]

    return CalibrationSource(
        count=count,
        description=f"{count} synthetic images (dead leaves, seed {_SEED})",
        warnings=(
            "calibrated on synthetic images, so accuracy suffers: little at 8 bits, by points at few bits "
            "(docs/benchmarks.md); give real ones with --calib DIR (a hundred do)",
        ),
        read=reader(normalised(preprocessing), list(islice(draw(), CACHED)), draw),
        comparison=partial(open_fixed, None, preprocessing, calibrated=count),
    )
