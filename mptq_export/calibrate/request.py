"""What a calibration is asked for, and what is refused before anything heavy is imported."""

from dataclasses import dataclass, field
from pathlib import Path

from mptq_export.data.arrays import ARRAY_SUFFIXES
from mptq_export.data.class_map import read_class_map
from mptq_export.data.given import NOTHING, Given
from mptq_export.data.reading import USUAL, Reading
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class CalibrationRequest:
    """On what, and how.

    Attributes:
        images: folder of images, or array file; None for synthetic images.
        count: at most so many inputs, spread evenly.
        reading: how they are read, where not as usual.
        class_map: file that names the logits.
        device: torch device; None takes a GPU where there is one.
        given: what a program gives instead of `images`, and its own transform.
    """

    images: Path | None = None
    count: int = 128
    reading: Reading = USUAL
    class_map: Path | None = None
    device: str | None = None
    given: Given = field(default=NOTHING, compare=False)

    def check(self) -> None:
        """Refuse what a look at the disk shows.

        Raises:
            MptqError: there is no such folder or file, no input is asked for, or the class map cannot be read.
        """
        path = self.images
        if path is not None and not path.exists():
            raise MptqError(f"--calib {path} does not exist; check the path")
        if path is not None and not path.is_dir() and path.suffix not in ARRAY_SUFFIXES:
            raise MptqError(f"--calib {path} is neither a folder of images nor one of {', '.join(ARRAY_SUFFIXES)}")
        if self.count < 1:
            raise MptqError(f"--count {self.count} is no number of inputs; give 1 or more")
        if self.class_map is not None:
            read_class_map(self.class_map)
