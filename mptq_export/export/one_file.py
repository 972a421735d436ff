"""A finished detector as one ONNX file, with what is float by nature as standard ops; proved beside its own files."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.data.classes import NAMES_KEY, ORIGIN_KEY
from mptq_export.data.reading import EXIF_KEY
from mptq_export.detect.opened import OpenedDetector, open_detector
from mptq_export.emit.detector.join import SIZE, Joined, join
from mptq_export.recipe.detector import JOINED_KEY
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.runtime.pixels import to_graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable, write_atomic
from mptq_export.verify.difference import difference
from mptq_export.verify.kernels.plan import KernelPlan, read_kernel_plan
from mptq_export.verify.onnx_file import load_onnx

FLOAT_KEY = "mptq.float"
"""Metadata: what of the file is float, a sentence."""

FLOAT = (
    "what lies between the networks (anchors, boxes, suppression, regions, masks) is float32, and may differ in its "
    "last bits between runtimes and CPUs; the networks are those of the files that were joined, bit for bit"
)
_KEPT = (NAMES_KEY, ORIGIN_KEY, EXIF_KEY, "mptq.arch", "mptq.bits", "mptq.method")


@dataclass(frozen=True)
class OneFile:
    """What was written.

    Attributes:
        path: the file.
        size: bytes.
        compared: values at the joints that were compared with the files of the parts, without a difference.
        kernels: integer kernels that onnxruntime runs, by op; as many as in the files of the parts.
        note: what is float in it, a sentence.
    """

    path: Path
    size: int
    compared: int
    kernels: dict[str, int]
    note: str = FLOAT


def join_detector(path: str | PathLike[str], out: str | PathLike[str], *, force: bool = False) -> OneFile:
    """Write a detector and what is float by nature of it as one ONNX file for a batch of one.

    Its inputs are those of the first file and `size`, int64 (height, width) of the picture before it was resized. Its
    outputs are in pixels of the picture: `boxes` float32 [N, 4] (x1, y1, x2, y2), `scores` float32 [N], `labels` int64
    [N] as `Detections` has them, and `masks` bool [N, height, width] where there is a mask head. What is found is what
    `open_detector` finds, up to the last bits of float32.

    Args:
        path: the ONNX file of a detector, of two stages the first one.
        out: the file to write.
        force: whether an existing file may be replaced.

    Raises:
        MptqError: the files do not belong together, `out` cannot be written, or in one graph a network would give other
            bits or run in other kernels than in its own file. Nothing is left half written.
    """
    out, opened = Path(out), open_detector(path)
    if out.resolve() in {file.path.resolve() for file in opened.files.values()}:
        raise MptqError(f"{out} is a file of the detector itself; name another one")
    check_writable(out, force=force)
    models = {part: load_onnx(file.path) for part, file in opened.files.items()}
    joined = join(opened.detector, models, keeps_sides=opened.preprocessing.crop_mode == "corner")
    _describe(joined.model, opened)
    compared, kernels = 0, Counter[str]()

    def write(temporary: Path) -> None:
        nonlocal compared, kernels
        onnx.save(joined.model, temporary)
        compared = _check_joints(temporary, joined, opened)
        kernels = _check_kernels(temporary, opened)

    write_atomic(out, write)
    return OneFile(out, out.stat().st_size, compared, dict(kernels))


def _describe(model: onnx.ModelProto, opened: OpenedDetector) -> None:
    first = opened.files[opened.detector.part].metadata
    digests = {part: file.metadata.get(CONTENTS_KEY) for part, file in opened.files.items()}
    kept = {key: first[key] for key in _KEPT if key in first}
    said = {JOINED_KEY: json.dumps(digests), FLOAT_KEY: FLOAT}
    onnx.helper.set_model_props(model, {**opened.preprocessing.to_metadata(), **kept, **said})
    model.doc_string = (
        f"A whole detector: {first.get('mptq.arch')}. Of this file {FLOAT}. Inputs: a picture as the metadata says, "
        f"and its {SIZE} (height, width) before it was resized."
    )


def _check_joints(path: Path, joined: Joined, opened: OpenedDetector) -> int:
    """Compare every network within the file with its own file on the same input.

    Returns:
        How many values were compared.

    Raises:
        MptqError: a bit differs, or results depend on whether the joints are looked at.
    """
    session, compared = open_session(path), 0
    results = [entry.name for entry in session.get_outputs()]
    with tempfile.TemporaryDirectory() as folder:
        looked_at, names = _expose(joined, Path(folder) / "joints.onnx")
        for feed in _probes(opened):
            expected = run_session(session, results, feed)
            values = {**feed, **run_session(looked_at, [*results, *names], feed)}
            differs = next((name for name in results if difference(values[name], expected[name]).differing), None)
            for part, joint in joined.joints.items():
                own = opened.files[part].run(values[joint.given])
                for name, tensor in joint.outputs.items():
                    found = difference(values[tensor], own[name])
                    compared += found.values
                    if found.differing:
                        differs = differs or tensor
            if differs is not None:
                raise MptqError(
                    f"in one file onnxruntime gives other bits for {differs} than in the files of {opened.path}: it is "
                    "not written; run these with `open_detector`"
                )
    return compared


def _expose(joined: Joined, path: Path) -> tuple[ort.InferenceSession, list[str]]:
    """The graph with all joints as outputs, and their names."""
    model = onnx.ModelProto()
    model.CopyFrom(joined.model)
    given = {entry.name for entry in model.graph.input}
    names = [name for joint in joined.joints.values() for name in (joint.given, *joint.outputs.values())]
    names = [name for name in dict.fromkeys(names) if name not in given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    onnx.save(model, path)
    return open_session(path), names


def _probes(opened: OpenedDetector) -> Iterator[dict[str, NDArray[Any]]]:
    """Noise, coarse and fine, as pictures of two sizes."""
    spec, preprocessing = opened.files[opened.detector.part].spec, opened.preprocessing
    channels, height, width = preprocessing.input_size
    draw = np.random.default_rng(0)
    for number, side in enumerate((8, 1)):
        coarse = draw.integers(0, 256, (-(-height // side), -(-width // side), channels), np.uint8)
        pixels = coarse.repeat(side, 0).repeat(side, 1)[None, :height, :width]
        taken = to_graph_input(pixels, spec, preprocessing.normalize)
        yield {spec.name: taken, SIZE: np.array([height + 40 * number, width], np.int64)}


def _check_kernels(path: Path, opened: OpenedDetector) -> Counter[str]:
    """Count the integer kernels.

    Raises:
        MptqError: there are others than in the files of the parts.
    """
    parts: Counter[str] = sum((_integer(read_kernel_plan(file.path)) for file in opened.files.values()), Counter())
    found = _integer(read_kernel_plan(path))
    if found != parts:
        raise MptqError(
            f"in one file onnxruntime runs {_said(found)}, in the files of {opened.path} {_said(parts)}: it is not "
            "written; run these with `open_detector`"
        )
    return found


def _integer(plan: KernelPlan) -> Counter[str]:
    return Counter(kernel.op for kernel in plan.integer)


def _said(kernels: Counter[str]) -> str:
    return " and ".join(f"{count} {op}" for op, count in sorted(kernels.items())) or "no integer kernels"
