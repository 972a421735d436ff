"""What an export should take, before it is done: all its stages.

First from the size of the checkpoint, while torch is not even loaded, then from the captured graph. The figures are
seconds on one core of one machine, for DeiT-tiny, ViT-S and the digits model; on others the clock corrects them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mptq_export.allocate.expected import SearchWork, asked_width, search_stages
from mptq_export.export.check_counts import check_counts
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.load.file.folder import files_of
from mptq_export.quantize.expected import importance_seconds, learning_seconds, walk_seconds
from mptq_export.quantize.method import METHODS
from mptq_export.support.progress import STARTING, Expected
from mptq_export.support.size import SMALL, Size
from mptq_export.targets.table import portable_form

#: Weights of a model of which not even a file is there, as of a name on timm's hub: those of ViT-S.
_PARAMETERS = 22e6

#: Pixels of an image along an edge, where nobody has said it yet; half for small models.
_EDGE = 224

#: Images that a file is observed on and compared with float on.
_OBSERVED, _COMPARED = 8, 64

#: Seconds to read an image, and a pixel of it.
_READING, _PIXEL = 5e-4, 1e-7

#: Seconds of what does not depend on the model: libraries, loading, a file's first session.
_LIBRARIES, _LOADING, _FIRST = 6.0, 0.2, 0.4

#: Seconds of the page for each layer.
_PAGE = 0.02

#: Seconds that timing takes at most, and of the runs of a file for each multiply-accumulate.
_TIMED, _RUN = 1.5, 1e-9


@dataclass(frozen=True)
class ExportWork:
    """What decides how long an export takes.

    Attributes:
        size: of the model, known or guessed.
        pixels: of an image.
        images: calibration images; 0 for a replay.
        plan: where the codes come from.
        target: the runtime that the file is for; None is `ort`.
    """

    size: Size
    pixels: int
    images: int
    plan: Plan
    target: str | None = None

    @staticmethod
    def guess(request: ExportRequest, parameters: int | None = None, pixels: int | None = None) -> "ExportWork":
        """Of a model that is not captured yet.

        Args:
            request: the export.
            parameters: how many weights it has; None: as many as the checkpoint has bytes for.
            pixels: of an image; None: as the request says, or as usual.
        """
        if parameters is None:
            nbytes = sum(path.stat().st_size for path in files_of(Path(request.model.name)) if path.is_file())
            parameters = int(nbytes / 4 or _PARAMETERS)
        if pixels is None:
            edge = _EDGE if parameters > SMALL else _EDGE // 2
            height, width = request.model.inputs.img_size or (edge, edge)
            pixels = height * width
        images = 0 if isinstance(request.plan, Replayed) else request.calibration.count
        return ExportWork(Size.guess(parameters, pixels), pixels, images, request.plan, request.outputs.target)

    @property
    def _exact(self) -> bool:
        return portable_form(self.target) is None

    @staticmethod
    def _weight_bits(plan: Uniform | Searched) -> int:
        """Of most weights."""
        return round(asked_width(plan.search)) if isinstance(plan, Searched) else plan.bits[0]

    def before(self) -> list[Expected]:
        """From the first import to the calibration."""
        size = self.size
        capturing = 1.0 + 1.2e-4 * size.columns + 1.4e-9 * size.macs
        reading = self.images * (_READING + _PIXEL * self.pixels)
        calibrating = reading + self.images * (3.2e-11 * size.macs + 5e-10 * size.numbers)
        found = [Expected(STARTING, _LIBRARIES, "start"), Expected("loading the model", _LOADING, "start")]
        if isinstance(self.plan, Replayed):
            return found
        return [
            *found,
            Expected("capturing", 0.75 * capturing, "file"),
            Expected("preparing", 0.25 * capturing, "file"),
            Expected("calibrating", calibrating),
            Expected("reading the images", reading, "file"),
        ]

    def search(self) -> list[Expected]:
        """Of a search; none without."""
        if not isinstance(self.plan, Searched):
            return []
        method = METHODS[self.plan.method]
        if isinstance(self.plan, Picked):
            return [Expected("weighing rows", importance_seconds(self.size, self.images, method))]
        return search_stages([SearchWork(self.size, self.images, method, self.plan.search, self._exact)])

    def file(self) -> list[Expected]:
        """From the codes to what its report shows, of one file."""
        size, plan = self.size, self.plan
        checked = sum(check_counts(int(size.macs), self.images, "best").values())
        found = [
            Expected("writing the file", 0.2 + 4e-5 * size.columns, "file"),
            Expected("checking", _FIRST + checked * (0.06 + 2.8e-10 * size.macs), "file"),
        ]
        if isinstance(plan, Replayed):
            found = [Expected("replaying", 0.5 + 1e-4 * size.columns + 1.3e-9 * size.macs, "file"), *found]
        else:
            method, bits = METHODS[plan.method], self._weight_bits(plan)
            quantizing = walk_seconds(size, self.images, method, (bits,), has_weight_regions=self._exact)
            if not isinstance(plan, Searched):
                quantizing += importance_seconds(size, self.images, method)
            learning = [Expected("learning", learning_seconds(size))] if plan.reconstruct else []
            found = [Expected("quantizing", quantizing), *learning, *found]
            found.append(Expected("observing", _OBSERVED * 1.2e-10 * size.macs, "file"))
            found.append(Expected("comparing with float", _COMPARED * (0.003 + 6e-11 * size.macs), "file"))
        return [*found, Expected("timing", 0.3 + min(_TIMED, _RUN * size.macs), "file")]

    def stages(self) -> list[Expected]:
        """All of them."""
        return [*self.before(), *self.search(), *files([self])]


def files(networks: Sequence[ExportWork]) -> list[Expected]:
    """From the codes to the page, of every file of an export.

    Args:
        networks: those of the model: of a detector of two stages its heads too.
    """
    plan = networks[0].plan
    count = len(plan.search.budgets) if isinstance(plan, Searched) else 1
    each = [stage for network in networks for stage in network.file()]
    pages = count * _PAGE * sum(network.size.layers for network in networks)
    return each * count + [Expected("writing the report", pages, "file")]
