"""What detectors found, on disk as it comes, so that an interrupted evaluation goes on where it was.

A file of JSON lines: first what judges, then for every detector and picture a hash of the pixels and of where the
picture lies in them, and what was found. Several detectors may share a file: each of its own hash.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from mptq_export.data.placement import Placement
from mptq_export.evaluate.detection.finders import Finder
from mptq_export.evaluate.detection.found import FoundObjects, found_objects
from mptq_export.evaluate.kept import open_kept
from mptq_export.runtime.pixels import Pixels
from mptq_export.support.appended_lines import AppendedLines
from mptq_export.support.version import __version__


class KeptDetections(AppendedLines):
    """Results of detectors on pictures."""

    refusal: ClassVar[str] = "cannot keep results in {name}: {reason}; free space, and go on with --resume"

    def __init__(self, file: IO[str], known: dict[str, FoundObjects]) -> None:
        super().__init__(file)
        self._known = known

    @staticmethod
    def open(path: Path) -> "KeptDetections":
        """Start a file, or go on with it where it is there.

        Raises:
            MptqError: it cannot be used, or is of something else.
        """
        known: dict[str, FoundObjects] = {}

        def take(entry: dict[str, Any]) -> None:
            known[entry["key"]] = FoundObjects.from_json(entry["found"])

        return KeptDetections(open_kept(path, {"task": "detection", "version": __version__}, take), known)

    def find(
        self, finder: Finder, pixels: Pixels, placements: Sequence[Placement], *, masks: bool
    ) -> list[FoundObjects]:
        """What a detector finds: what is known is read, the rest is run and written at once.

        Args:
            finder: the detector.
            pixels: of a batch.
            placements: of its pictures.
            masks: whether masks are wanted.
        """
        keys = [_key(finder.digest, image, where, masks) for image, where in zip(pixels, placements, strict=True)]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            detections = finder.detect(np.ascontiguousarray(pixels[new]), [placements[place] for place in new])
            for place, each in zip(new, detections, strict=True):
                self._known[keys[place]] = found_objects(each, masks=masks)
                self.append({"key": keys[place], "found": self._known[keys[place]].to_json()})
        return [self._known[key] for key in keys]


def _key(digest: str, image: Pixels, where: Placement, masks: bool) -> str:
    said = f"{digest} {where.picture} {where.inside} {masks} {image.shape}"
    return hashlib.sha256(said.encode() + image.tobytes()).hexdigest()
