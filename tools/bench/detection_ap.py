"""AP of one detector on a folder in COCO's format: of its files, of its float model, or of both mixed.

    python -m tools.bench.detection_ap MODEL --data DIR --json FILE                        (float)
    python -m tools.bench.detection_ap MODEL --data DIR --json FILE --files OUT.onnx       (quantized)
    python -m tools.bench.detection_ap MODEL --data DIR --json FILE --backbone backbone.swin --maps MAPS.onnx

With `--maps` the module that `--backbone` names is the quantized one of MAPS.onnx, which
`tools.bench.detection_backbone` writes; all else is float. Pictures, glue and judging are the same for all three. The
categories of the annotations, by rising id, are the detector's classes in order.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mptq_export.cli.common import write_json
from mptq_export.data.coco.layout import find_annotations
from mptq_export.data.coco.read import read_coco
from mptq_export.data.placement import Placement
from mptq_export.detect.glue import Network, Networks, detect
from mptq_export.evaluate.detection.average_precision import Kind, Truth, judge
from mptq_export.evaluate.detection.found import FoundObjects, found_objects
from mptq_export.load.forward import tensors
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.detector import Detector
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from tools.bench.detection_backbone import QuantizedMaps
from tools.bench.detection_options import Loading, add_loading
from tools.options import Parser, existing, positive

_BATCH = 16


@dataclass(frozen=True)
class Pictures:
    """What is judged.

    Attributes:
        inputs: float32 [pictures, C, height, width], normalised.
        placements: where each picture lies in its input.
        truth: the objects.
    """

    inputs: NDArray[np.float32]
    placements: list[Placement]
    truth: Truth


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.detection_ap", __doc__)
    add_loading(parser)
    parser.add_argument("--data", type=existing, required=True, help="Pictures and annotations in COCO's format.")
    parser.add_argument("--files", type=existing, metavar="OUT.onnx", help="The quantized detector's first file.")
    parser.add_argument("--backbone", metavar="PATH", help="The module of the backbone, such as backbone.swin.")
    parser.add_argument("--maps", type=existing, metavar="MAPS.onnx", help="The quantized backbone.")
    parser.add_argument("--images", type=positive, help="At most so many pictures, the first ones.")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    data: Path,
    files: Path | None,
    backbone: str | None,
    maps: Path | None,
    images: int | None,
    threads: int,
    json_path: Path | None,
    **loading: Any,
) -> None:
    if (backbone is None) != (maps is None):
        raise MptqError("--backbone and --maps belong together")
    torch.set_num_threads(threads)
    loaded = Loading(**loading).load()
    detector = described(loaded)
    if files is not None:
        networks = networks_of_files(files, detector, threads)
    else:
        if backbone is not None and maps is not None:
            _replace(loaded.model, backbone, lambda own: QuantizedMaps(own, maps, threads))
        networks = networks_of_model(loaded)
    pictures = read_pictures(data, loaded, detector, images)
    start = time.monotonic()
    found = found_on(pictures, detector, networks)
    seconds = time.monotonic() - start
    masks = networks.mask is not None
    report: dict[str, Any] = {"images": len(pictures.placements), "eval_seconds": seconds}
    report |= {
        "box": figures_of(pictures, found, "box"),
        "mask": figures_of(pictures, found, "mask") if masks else None,
    }
    write_json(json_path, report)
    print(f"{report['images']} pictures: box {report['box']}, mask {report['mask']}")


def described(loaded: LoadedModel) -> Detector:
    """What a model says of itself as a detector.

    Raises:
        MptqError: it is none.
    """
    if loaded.detector is None:
        raise MptqError(f"{loaded.asked.name} is no detector whose outputs have a known meaning")
    return loaded.detector


def networks_of_model(loaded: LoadedModel) -> Networks:
    """The float networks, in torch."""
    heads = {head.detector.part: _of_torch(head) for head in loaded.heads if head.detector is not None}
    return Networks(_of_torch(loaded), heads.get("box"), heads.get("mask"))


def networks_of_files(first: Path, detector: Detector, threads: int) -> Networks:
    """Networks in onnxruntime: the files that an export wrote, `OUT.onnx`, `OUT.box.onnx`, `OUT.mask.onnx`."""
    box, mask = (_of_file(path, threads) if path.exists() else None for path in part_files(first)[1:])
    if detector.regions is not None and (box is None or (mask is None) != (detector.regions.mask_pooling is None)):
        raise MptqError(f"the files of the heads are not beside {first}; export the detector again")
    return Networks(_of_file(first, threads), box, mask)


def part_files(first: Path) -> tuple[Path, Path, Path]:
    """Where the files of a detector are, whether or not it has them all."""
    return (first, first.with_name(f"{first.stem}.box.onnx"), first.with_name(f"{first.stem}.mask.onnx"))


def read_pictures(data: Path, loaded: LoadedModel, detector: Detector, images: int | None) -> Pictures:
    """Pictures as the detector takes them, with what there is to find.

    Raises:
        MptqError: the annotations are missing, or have another number of categories than the detector has classes.
    """
    annotations = find_annotations(data, None)
    if annotations is None:
        raise MptqError(f"{data} has no annotations.json; give a folder in COCO's format")
    folder = read_coco(data, annotations)
    if len(folder.categories) != detector.classes:
        raise MptqError(f"{annotations} has {len(folder.categories)} categories, the detector {detector.classes}")
    first = 1 if detector.family == "rcnn" else 0
    labels = {number: first + place for place, number in enumerate(sorted(folder.categories))}
    scenes = folder.scenes[:images]
    preprocessing, pixels, sizes = loaded.preprocessing, [], []
    for scene in scenes:
        with Image.open(scene.file) as opened:
            picture = opened.convert("RGB")
        sizes.append((picture.height, picture.width))
        pixels.append(preprocessing.transform_uint8(picture))
    objects = [[each for each in folder.objects if each.file == scene.file] for scene in scenes]
    placements = [preprocessing.placement(size) for size in sizes]
    return Pictures(preprocessing.normalize(np.stack(pixels)), placements, Truth(sizes, objects, labels))


def found_on(pictures: Pictures, detector: Detector, networks: Networks) -> list[FoundObjects]:
    """What a detector finds, picture by picture."""
    found: list[FoundObjects] = []
    for start in range(0, len(pictures.placements), _BATCH):
        some = slice(start, start + _BATCH)
        detections = detect(detector, networks, pictures.inputs[some], pictures.placements[some])
        found += [found_objects(each, masks=networks.mask is not None) for each in detections]
    return found


def figures_of(pictures: Pictures, found: Sequence[FoundObjects], kind: Kind) -> dict[str, float]:
    """COCO's figures in points of 100; without an object they are 0."""
    figures = asdict(judge(pictures.truth, found, kind).figures)
    return {name: 100 * (value or 0.0) for name, value in figures.items()}


def _of_torch(loaded: LoadedModel) -> Network:
    model, names = loaded.model.eval(), [output.name for output in loaded.outputs]

    def run_network(inputs: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = tensors(model(torch.from_numpy(inputs)))
        return {name: value.float().numpy() for name, value in zip(names, found, strict=True)}

    return run_network


def _of_file(path: Path, threads: int) -> Network:
    session = open_session(path, threads=threads)
    source, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def run_network(inputs: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, {source: inputs}), strict=True))

    return run_network


def _replace(model: nn.Module, path: str, made: Any) -> None:
    """Put what `made` makes of a module in its place."""
    parent, _, name = path.rpartition(".")
    try:
        owner = model.get_submodule(parent)
        own = getattr(owner, name)
    except AttributeError as error:
        raise MptqError(f"--backbone {path} is no module of the detector ({error})") from error
    setattr(owner, name, made(own))


if __name__ == "__main__":
    sys.exit(main())
