"""The files of a detector, opened and checked: one, or of two stages OUT.onnx, OUT.box.onnx and OUT.mask.onnx."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.detect.layout import fits, input_shape, output_shapes
from mptq_export.recipe.detector import DETECTOR_KEY, FIRST_KEY, JOINED_KEY, Detector, Part, detector_of
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.runtime.any_batch import run_any
from mptq_export.runtime.graph_input import GraphInput, graph_input
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError

#: Metadata that all files of one detector have in common.
_COMMON = ("mptq.arch",)


@dataclass(frozen=True)
class PartFile:
    """One file.

    Attributes:
        path: where it is.
        metadata: of it.
        detector: its description.
        session: onnxruntime's.
        spec: its input.
    """

    path: Path
    metadata: Mapping[str, str]
    detector: Detector
    session: ort.InferenceSession
    spec: GraphInput

    def run(self, inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Its outputs by name, for any number of inputs but none: where the file has a batch of its own, in turn."""
        return run_any(self.session, [entry.name for entry in self.session.get_outputs()], self.spec, inputs)


def part_path(first: Path, part: Part) -> Path:
    """Where the file of a head is, beside the first file: OUT.onnx to OUT.box.onnx."""
    return first.with_name(f"{first.stem}.{part}{first.suffix}")


def open_parts(path: Path, *, threads: int = 0) -> dict[Part, PartFile]:
    """All files of a detector.

    Args:
        path: the file, or of two stages the first one; the others lie beside it.
        threads: of onnxruntime within an operator; 0 for its own choice.

    Raises:
        MptqError: a file is missing, is no part of a detector or of another one, or does not fit its description.
    """
    first = _open(path, threads)
    regions = first.detector.regions
    if first.detector.part in ("box", "mask"):
        raise MptqError(
            f"{path} holds the {first.detector.part} head of a detector alone; name the first of its files, the one "
            f"without .{first.detector.part}"
        )
    found = {first.detector.part: first}
    if regions is None:
        return found
    heads: list[Part] = ["box"] if regions.mask_pooling is None else ["box", "mask"]
    for part in heads:
        beside = part_path(path, part)
        if not beside.is_file():
            raise MptqError(
                f"{path} is one of {len(heads) + 1} files of a detector, and {beside} is not there; put the files that "
                "one export wrote beside each other"
            )
        found[part] = _open(beside, threads)
        _check_one_detector(first, found[part], part)
    return found


def _open(path: Path, threads: int) -> PartFile:
    if not path.is_file():
        raise MptqError(f"there is no file {path}; name the ONNX file of a detector")
    session = open_session(path, threads=threads)
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    detector = detector_of(metadata)
    if JOINED_KEY in metadata:
        raise MptqError(
            f"{path} is a detector in one file, which needs no other steps; name the first of its own files"
        )
    if detector is None:
        raise MptqError(
            f"{path} is no detector: its metadata has no {DETECTOR_KEY}; name a file that mptq-export wrote of one"
        )
    opened = PartFile(path, metadata, detector, session, graph_input(session))
    _check_layout(opened)
    return opened


def _check_layout(part: PartFile) -> None:
    """Refuse a file whose graph is not what its description says.

    Raises:
        MptqError: its input or an output is missing or has another shape.
    """
    declared, wanted = part.spec.shape, input_shape(part.detector)
    if part.spec.dtype == "uint8" and len(declared) == len(wanted) + 1:  # pixels have their channels last
        declared = (declared[0], declared[3], declared[1], declared[2])
    if not fits(wanted, declared):
        raise _unfit(part, f"input {part.spec.name}", wanted, declared)
    given = {entry.name: tuple(entry.shape) for entry in part.session.get_outputs()}
    for name, shape in output_shapes(part.detector).items():
        if name not in given:
            raise MptqError(
                f"{part.path} gives no {name}, which its description as a detector names; export it again with all of "
                "its outputs"
            )
        if not fits(shape, given[name]):
            raise _unfit(part, f"output {name}", shape, given[name])


def _unfit(
    part: PartFile, what: str, wanted: tuple[int | None, ...], declared: tuple[int | str | None, ...]
) -> MptqError:
    sizes = ", ".join("?" if size is None else str(size) for size in ("batch", *wanted))
    return MptqError(
        f"{what} of {part.path} has shape {list(declared)}, and its description as a detector says [{sizes}]; export "
        "it again"
    )


def _check_one_detector(first: PartFile, head: PartFile, part: Part) -> None:
    """Refuse a head of another detector, or of another export of the same.

    Raises:
        MptqError: it is one.
    """
    if head.detector.part != part:
        raise MptqError(f"{head.path} holds no {part} head but {head.detector.part}; it was renamed: export it again")
    contents = first.metadata.get(CONTENTS_KEY)
    same = (
        replace(head.detector, part=first.detector.part) == first.detector
        and all(head.metadata.get(key) == first.metadata.get(key) for key in _COMMON)
        and head.metadata.get(FIRST_KEY, contents) == contents
    )
    if not same:
        raise MptqError(
            f"{head.path} and {first.path} are not of one export: {_difference(first, head)}; export both again"
        )
    size = head.spec.shape[1]
    taken = size if isinstance(size, int) else None
    for entry in first.session.get_outputs():
        if entry.name.startswith("features.") and not fits((taken,), tuple(entry.shape[:2])):
            raise MptqError(
                f"{head.path} takes regions of {taken} channels, and {entry.name} of {first.path} has "
                f"{entry.shape[1]}; export both again"
            )


def _difference(first: PartFile, head: PartFile) -> str:
    """What two files do not have in common."""
    for key in _COMMON:
        if head.metadata.get(key) != first.metadata.get(key):
            return f"one is of {first.metadata.get(key)}, the other of {head.metadata.get(key)}"
    for name in Detector.__dataclass_fields__:
        ours, theirs = getattr(first.detector, name), getattr(head.detector, name)
        if name != "part" and ours != theirs:
            return f"their {name} differ"
    return "the head was exported for another first file"
