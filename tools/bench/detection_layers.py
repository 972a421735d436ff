"""Which layers of a detector cost AP at few bits, in simulation: all at --bits, then a group of them at 8/8 a row.

    python -m tools.bench.detection_layers MODEL --calib DIR --data DIR --json FILE [--bits 4/4] [--part box]
                                           [--group TEXT ...] [--without TECHNIQUE ...]

A group is all layers whose name begins alike (numbers left out), such as `backbone.pyramid.layer_blocks`; a row for
each, or for those that --group names. --without adds a row with all at --bits and one technique of `best` left out.
The first network is simulated, or of a detector of two stages the head that --part names, on regions of float maps;
all else is float. FILE holds what is done: a row that is there is not measured again.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.allocate.units import layers
from mptq_export.api import Calibrated, calibrate
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.cli.values import bits_from
from mptq_export.data.images import ImageFolder
from mptq_export.detect.glue import Network, Networks
from mptq_export.detect.proposals import proposals
from mptq_export.detect.roi_align import pool
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS, Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.detector import Detector
from mptq_export.support.errors import MptqError
from tools.bench.detection_ap import Pictures, described, figures_of, found_on, networks_of_model, read_pictures
from tools.bench.detection_options import Loading, add_loading
from tools.bench.techniques import TECHNIQUES, leaving_out
from tools.options import Parser, existing, positive

_BATCH = 16
_RAISED = (8, 8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.detection_layers", __doc__)
    add_loading(parser)
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--count", type=positive, default=64, help="Calibration images.")
    parser.add_argument("--data", type=existing, required=True, help="Pictures and annotations in COCO's format.")
    parser.add_argument("--images", type=positive, help="At most so many pictures.")
    parser.add_argument("--bits", default="4/4", metavar="W/A")
    parser.add_argument("--method", choices=METHODS, default="best")
    parser.add_argument("--part", choices=("first", "box", "mask"), default="first")
    parser.add_argument("--group", dest="groups", action="append", help="Only these groups. Default: all.")
    parser.add_argument("--without", action="append", default=[], choices=TECHNIQUES)
    parser.add_argument("--device")
    parser.add_argument("--json", dest="json_path", type=Path, required=True, metavar="FILE")
    return parser.run(run, arguments)


def run(
    *,
    calib: Path,
    count: int,
    data: Path,
    images: int | None,
    bits: str,
    method: str,
    part: str,
    groups: Sequence[str] | None,
    without: Sequence[str],
    device: str | None,
    json_path: Path,
    **loading: Any,
) -> None:
    loaded = Loading(**loading).load()
    detector = described(loaded)
    pictures = read_pictures(data, loaded, detector, images)
    floats = networks_of_model(loaded)
    quantized, inputs = loaded, inputs_of(calib, loaded, count)
    if part != "first":
        quantized = head_of(loaded, part)
        inputs = regions(detector, floats, inputs, part)
    calibrated = calibrate(quantized, inputs, count=len(inputs), any_range=True, device=device)
    asked, techniques = bits_from(bits), METHODS[method]  # type: ignore[index]
    source = CalibratedGraph(calibrated.graph, calibrated.stats, calibrated.images).with_importance(techniques)
    wanted: dict[str, Callable[[], Networks]] = {"float": lambda: floats}

    def quantize(raised: str | None, chosen: Method) -> Networks:
        def widths(layer: str) -> tuple[int, int]:
            return _RAISED if raised is not None and group_of(layer) == raised else asked

        graph, recipe = build_recipe(source, widths, chosen)
        network = simulated(calibrated, graph, Simulator.of(graph, recipe, calibrated.images.device))
        return replace(floats, **{part: network})

    wanted[f"all {bits}"] = partial(quantize, None, techniques)
    for name in without:
        wanted[f"{bits} without {name}"] = partial(quantize, None, leaving_out(name))
    known = dict.fromkeys(group_of(node.name) for node in layers(calibrated.graph))
    if unknown := sorted(set(groups or ()) - set(known)):
        raise MptqError(f"there are no layers {unknown[0]}; the groups are {', '.join(known)}")
    for name in groups if groups is not None else known:
        wanted[f"{bits}, {name} 8/8"] = partial(quantize, name, techniques)
    _measure(wanted, json_path, pictures, detector)


def _measure(wanted: Mapping[str, Callable[[], Networks]], path: Path, pictures: Pictures, detector: Detector) -> None:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for name, networks_of in wanted.items():
        if any(row["row"] == name for row in rows):
            continue
        networks = networks_of()
        found = found_on(pictures, detector, networks)
        mask = None if networks.mask is None else figures_of(pictures, found, "mask")
        rows.append({"row": name, "box": figures_of(pictures, found, "box"), "mask": mask})
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        masks = "" if mask is None else f", mask {mask['ap']:.2f}"
        print(f"{name}: box AP {rows[-1]['box']['ap']:.2f}{masks}", flush=True)


def group_of(layer: str) -> str:
    """The beginning of a layer's name: three words, numbers left out."""
    words = [word for word in layer.split(".") if not word.isdigit()]
    return ".".join(words[:3])


def inputs_of(calib: Path, loaded: LoadedModel, count: int) -> NDArray[np.float32]:
    """Calibration pictures as the detector takes them."""
    folder = ImageFolder(calib, loaded.preprocessing, limit=count, labels=False)
    return np.concatenate([loaded.preprocessing.normalize(pixels) for pixels in folder.batches(_BATCH)])


def head_of(loaded: LoadedModel, part: str) -> LoadedModel:
    """The head of a part.

    Raises:
        MptqError: the detector has none.
    """
    for head in loaded.heads:
        if head.detector is not None and head.detector.part == part:
            return head
    raise MptqError(f"{loaded.asked.name} has no {part} head")


def regions(detector: Detector, floats: Networks, inputs: NDArray[np.float32], part: str) -> NDArray[np.float32]:
    """What the float first stage gives a head of each picture: the eight best proposals, cut out of its maps."""
    assert detector.regions is not None
    pooling = detector.regions.box_pooling if part == "box" else detector.regions.mask_pooling
    assert pooling is not None
    found = []
    for image in inputs:
        outputs = {name: value[0] for name, value in floats.first(image[None]).items()}
        maps = {name.partition(".")[2]: value for name, value in outputs.items() if name.startswith("features.")}
        found.append(pool(pooling, maps, proposals(detector, outputs, detector.image).boxes[:8]))
    return np.concatenate(found)


def simulated(calibrated: Calibrated, graph: Graph, simulator: Simulator) -> Network:
    """The quantized network in torch, with the numbers of its file."""
    device = calibrated.images.device

    def run_network(inputs: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        with torch.no_grad():
            joined = evaluate(graph, torch.from_numpy(inputs).to(device), compute_node=simulator.compute)
        shapes = [graph[value].shape.at(len(inputs)) for value in graph.outputs.values()]
        parts = zip(graph.outputs, graph.parts(joined), shapes, strict=True)
        return {name: value.reshape(shape).float().cpu().numpy() for name, value, shape in parts}

    return run_network


if __name__ == "__main__":
    sys.exit(main())
