"""How calibration data is to be taken, where its usual reading does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass

EXIF_KEY = "mptq.exif"
"""Metadata of a file whose calibration images were turned by their EXIF orientation: "true"."""


@dataclass(frozen=True)
class Reading:
    """Departures from how data is read.

    Attributes:
        exif: images are turned as their EXIF orientation says; timm does not.
        allow_skipped: more than a tenth of the images may be left out.
        any_range: the values of an array need not be normalised pixels.
    """

    exif: bool = False
    allow_skipped: bool = False
    any_range: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command line that ask for it."""
        given = {"--exif": self.exif, "--allow-skipped": self.allow_skipped, "--any-range": self.any_range}
        return tuple(option for option, value in given.items() if value)


USUAL = Reading()


def exif_of(metadata: Mapping[str, str]) -> bool:
    """Whether the images that a file was calibrated on were turned by their EXIF orientation."""
    return metadata.get(EXIF_KEY) == "true"
