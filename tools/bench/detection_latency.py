"""How long a whole detector takes for a picture, glue included: its float ONNX files and ours, in turn, part by part.

    python -m tools.bench.detection_latency MODEL OUT.onnx --float FLOAT.onnx --data DIR [--images 20] [--json FILE]

Both are the first file of a detector; those of its heads lie beside it. A picture is run by one, then by the other, the
order changing from picture to picture, each once untimed before it is timed. Ratios are of the same picture, and so is
the glue (NumPy, float, the same for both), but what it has to do depends on what the networks found.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles
from mptq_export.bench.show import spread
from mptq_export.cli.common import write_json
from mptq_export.detect.glue import Network, Networks, detect
from mptq_export.recipe.detector import Detector
from mptq_export.runtime.session import open_session
from tools.bench.detection_ap import Pictures, described, networks_of_files, read_pictures
from tools.bench.detection_options import Loading, add_loading
from tools.options import Parser, Repeated, existing, positive

_BITS = "mptq.bits"

Milliseconds = dict[str, float]
"""By part: `whole`, `glue`, and every network."""


@dataclass
class Timed:
    """A detector whose networks say how long they took.

    Attributes:
        detector: how outputs are read.
        networks: what is run.
        spent: of the picture that runs, seconds by network.
    """

    detector: Detector
    networks: Networks
    spent: dict[str, float] = field(default_factory=dict)

    def run(self, pictures: Pictures, number: int) -> Milliseconds:
        """One picture."""
        self.spent.clear()
        networks = Networks(
            self._watched("network" if self.detector.regions is None else "proposals", self.networks.first),
            self.networks.box and self._watched("box head", self.networks.box),
            self.networks.mask and self._watched("mask head", self.networks.mask),
        )
        one = slice(number, number + 1)
        start = time.perf_counter()
        (found,) = detect(self.detector, networks, pictures.inputs[one], pictures.placements[one])
        if networks.mask is not None:
            found.masks()
        whole = time.perf_counter() - start
        parts = {"whole": whole, **self.spent, "glue": whole - sum(self.spent.values())}
        return {name: 1e3 * seconds for name, seconds in parts.items()}

    def _watched(self, name: str, network: Network) -> Network:
        def watched(inputs: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
            start = time.perf_counter()
            found = network(inputs)
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - start
            return found

        return watched


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.detection_latency", __doc__)
    add_loading(parser)
    parser.add_argument("files", type=existing, metavar="OUT.onnx", help="Ours.")
    parser.add_argument("--float", dest="floats", type=existing, required=True, metavar="FLOAT.onnx")
    parser.add_argument("--data", type=existing, required=True, help="Pictures and annotations in COCO's format.")
    parser.add_argument("--images", type=positive, default=20, help="Pictures, the first ones.")
    parser.add_argument("--rounds", type=positive, default=3, help="How often each picture is timed.")
    parser.add_argument("--threads", action=Repeated, type=positive, default=(1, 2))
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    files: Path,
    floats: Path,
    data: Path,
    images: int,
    rounds: int,
    threads: Sequence[int],
    json_path: Path | None,
    **loading: Any,
) -> None:
    loaded = Loading(**loading).load()
    detector = described(loaded)
    pictures = read_pictures(data, loaded, detector, images)
    rows = []
    for number in threads:
        ours, floating = (Timed(detector, networks_of_files(path, detector, number)) for path in (files, floats))
        rows += [{"threads": number, **row} for row in compared(ours, floating, pictures, rounds)]
    bits = open_session(files).get_modelmeta().custom_metadata_map.get(_BITS, "")
    report: dict[str, Any] = {
        "model": loaded.asked.name.rpartition(":")[2],
        "bits": bits,
        "cpu": asdict(detect_cpu()),
        "onnxruntime": ort.__version__,
        "images": len(pictures.placements),
        "rounds": rounds,
        "rows": rows,
    }
    write_json(json_path, report)
    Console(highlight=False, width=160).print(_table(report))


def compared(ours: Timed, floating: Timed, pictures: Pictures, rounds: int) -> list[dict[str, Any]]:
    """Medians of both and of their ratios, a row a part; a part that a picture has no work for is not timed there."""
    seen: dict[str, list[tuple[float, float]]] = {}
    both = (ours, floating)
    for turn in range(rounds):
        for number in range(len(pictures.placements)):
            order = both if (turn + number) % 2 else both[::-1]
            times = {}
            for each in order:
                each.run(pictures, number)
                times[id(each)] = each.run(pictures, number)
            for part, own in times[id(ours)].items():
                if part in times[id(floating)]:
                    seen.setdefault(part, []).append((own, times[id(floating)][part]))
    return [_row(part, np.array(pairs)) for part, pairs in seen.items()]


def _row(part: str, pairs: NDArray[np.float64]) -> dict[str, Any]:
    own, other = pairs.T
    return {
        "part": part,
        "ours_ms": asdict(Quartiles.of(own)),
        "float_ms": asdict(Quartiles.of(other)),
        "over_float": asdict(Quartiles.of(own / other)),
    }


def _table(report: dict[str, Any]) -> Table:
    title = f"{report['model']}, {report['bits']}, {report['images']} pictures; onnxruntime {report['onnxruntime']}"
    table = Table("threads", "part", "float, ms", "ours, ms", "over float (quartiles)", title=title, box=None)
    for row in report["rows"]:
        ratio = Quartiles(**row["over_float"])
        times = [f"{row[key]['median']:.2f}" for key in ("float_ms", "ours_ms")]
        table.add_row(str(row["threads"]), row["part"], *times, f"{ratio.median:.3f} ({spread(ratio)})")
    return table


if __name__ == "__main__":
    sys.exit(main())
