"""A detector's file or files as one thing that takes pictures and gives detections."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.decode import read_picture
from mptq_export.data.images import UNREADABLE
from mptq_export.data.placement import Placement
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import exif_of
from mptq_export.detect.detections import Detections
from mptq_export.detect.glue import Networks, detect
from mptq_export.detect.parts import PartFile, open_parts
from mptq_export.recipe.detector import Detector, Part
from mptq_export.runtime.pixels import to_graph_input
from mptq_export.support.errors import MptqError

Picture = str | PathLike[str] | Image.Image | NDArray[np.uint8]
"""A file, an image of Pillow's, or (height, width, 3) codes of red, green, blue."""


class OpenedDetector:
    """A detector that is ready to run in onnxruntime on the CPU. `open_detector` makes it.

    Attributes:
        path: the file, or the first one.
        detector: the description in it.
        preprocessing: how a picture becomes its input.
        files: all of its files, by part.
        networks: what they compute, for `glue.detect`.
    """

    def __init__(self, path: Path, files: dict[Part, PartFile]) -> None:
        self.path, self.files = path, files
        first = next(iter(files.values()))
        self._spec, self._exif = first.spec, exif_of(first.metadata)
        self.detector: Detector = first.detector
        self.preprocessing = Preprocessing.from_metadata(first.metadata)
        box, mask = (files[part].run if part in files else None for part in ("box", "mask"))
        self.networks = Networks(first.run, box, mask)
        self._check_preprocessing()

    def detect(self, picture: Picture, *, masks: bool = True) -> Detections:
        """What is found in a picture.

        Args:
            picture: a file, an image of Pillow's, or an array.
            masks: whether masks are computed, where the detector has them.

        Returns:
            Boxes in pixels of the picture, the best first; those below the detector's own score are not among them.

        Raises:
            MptqError: the picture cannot be read or is none.
        """
        (found,) = self.detect_all([picture], batch=1, masks=masks)
        return found

    def detect_all(self, pictures: Iterable[Picture], *, batch: int = 1, masks: bool = True) -> Iterator[Detections]:
        """What is found in each of many pictures, in their order.

        Args:
            pictures: as for `detect`; read while they are needed.
            batch: how many go through the first network at a time.
            masks: as for `detect`.

        Raises:
            MptqError: a picture cannot be read or is none.
        """
        if batch < 1:
            raise ValueError(f"a batch of {batch} pictures")
        waiting = iter(pictures)
        while some := list(islice(waiting, batch)):
            images = [self._image(picture) for picture in some]
            pixels = np.stack([self.preprocessing.transform_uint8(image) for image in images])
            placements = [self.preprocessing.placement((image.height, image.width)) for image in images]
            inputs = to_graph_input(pixels, self._spec, self.preprocessing.normalize)
            yield from self.detect_inputs(inputs, placements, masks=masks)

    def detect_inputs(
        self, inputs: NDArray[Any], placements: Sequence[Placement], *, masks: bool = True
    ) -> list[Detections]:
        """What is found in inputs that are prepared already.

        Args:
            inputs: as the first file takes them: float32 [B, channels, height, width], or uint8 [B, height, width,
                channels].
            placements: [B], of `preprocessing.placement`.
            masks: as for `detect`.

        Raises:
            MptqError: the inputs have another shape or type.
        """
        expected = tuple(self._spec.shape[1:])
        if inputs.shape[1:] != expected or inputs.dtype != np.dtype(self._spec.dtype):
            raise MptqError(
                f"{self.path} takes inputs of {list(expected)} {self._spec.dtype}, not {list(inputs.shape[1:])} "
                f"{inputs.dtype}; export for another size, or let `detect` resize the pictures"
            )
        if len(inputs) != len(placements):
            raise ValueError(f"{len(inputs)} inputs, and {len(placements)} placements")
        networks = self.networks if masks else Networks(self.networks.first, self.networks.box)
        return detect(self.detector, networks, inputs, placements) if len(inputs) else []

    def _check_preprocessing(self) -> None:
        """Refuse a file that says another size than its detector, or does not show whole pictures.

        Raises:
            MptqError: it is so.
        """
        size = self.preprocessing.input_size[1:]
        if size != self.detector.image:
            raise MptqError(
                f"{self.path} prepares pictures of {size} pixels for a detector of {self.detector.image}; export it "
                "again"
            )
        self.preprocessing.check_pictures()
        self.preprocessing.placement(size)

    def _image(self, picture: Picture) -> Image.Image:
        if isinstance(picture, Image.Image):
            return picture
        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
                raise MptqError(
                    f"a picture is (height, width, 3) of uint8, not {list(picture.shape)} of {picture.dtype}; give its "
                    "codes of red, green and blue"
                )
            return Image.fromarray(picture)
        try:
            return read_picture(Path(picture), exif=self._exif).image
        except UNREADABLE as error:
            raise MptqError(f"the picture {picture} cannot be read ({error}); name an image file") from error


def open_detector(path: str | PathLike[str], *, threads: int = 0) -> OpenedDetector:
    """Open a detector that mptq-export wrote.

    Args:
        path: its ONNX file. Of a detector of two stages the first one, `OUT.onnx`: `OUT.box.onnx` and `OUT.mask.onnx`
            are found beside it.
        threads: of onnxruntime within an operator; 0 for its own choice.

    Raises:
        MptqError: a file is missing, is no part of a detector or one of another, or does not fit its description.
    """
    return OpenedDetector(Path(path), open_parts(Path(path), threads=threads))
