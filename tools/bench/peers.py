"""Our files beside their peers: latency in turn, size, top-1, and how exact each is.

    python -m tools.bench.peers CHECKPOINT --calib DIR [--val DIR] [--mixed 4.5] [--keep DIR]
    python -m tools.bench.peers --random deit_small_patch16_224 [--threads 1 --threads 4] [--batch 1 --batch 8]
    python -m tools.bench.peers --kept DIR [--threads 2] [--json FILE]

All models come from one checkpoint and the same calibration images and run in turn in one process: the float32 ONNX
file; onnxruntime's quantize_static (QDQ, per channel, min/max) as u8s8, u8u8 and s8s8; ours at 8/8, 7/8 and 4/4; and
OpenVINO in float and int8, if openvino and nncf are installed (`pip install openvino nncf`). --random takes random
weights and synthetic images. Without --val there is no top-1. --kept times what --keep kept and checks nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.bench.inputs import feed_of, read_spec
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles, interleave
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.common import write_json
from mptq_export.cli.terminal import Terminal
from mptq_export.data.calibration import open_calibration
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.logits import evaluate
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Plan, Searched, Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.loaders import load_model
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import tracked
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.plan import read_kernel_plan
from tools.bench.openvino_peers import openvino_peer, openvino_peers
from tools.bench.peer import Peer, onnx_peer, stability
from tools.bench.peer_tables import show
from tools.bench.random_checkpoint import write_random_checkpoint
from tools.bench.static_peers import VARIANTS, static_peers
from tools.options import Parser, Repeated, existing, positive

OURS = ("8/8", "7/8", "4/4")
#: Ratios are taken to these: the latency of a peer over ours.
BASES = ("ours 8/8", "ours 7/8")
CHECKED_IMAGES = 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.peers", __doc__)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument(
        "--random", dest="arch", metavar="ARCH", help="timm architecture with random weights, in place of CHECKPOINT."
    )
    parser.add_argument("--kept", type=existing, help="Only time the models of this folder.")
    parser.add_argument("--calib", type=Path, help="Calibration images.")
    parser.add_argument("--val", type=Path, help="Validation images in class folders.")
    parser.add_argument("--count", type=positive, default=32, help="Calibration images.")
    parser.add_argument("--images", type=positive, default=1000, help="Validation images.")
    parser.add_argument("--mixed", metavar="BUDGET", help="Also search widths under this budget: minutes to hours.")
    parser.add_argument("--threads", action=Repeated, type=positive, default=(1,))
    parser.add_argument("--batch", dest="batches", action=Repeated, type=positive, default=(1,))
    parser.add_argument("--rounds", type=positive, default=30)
    parser.add_argument(
        "--openvino", action=argparse.BooleanOptionalAction, default=True, help="Whether OpenVINO is among them."
    )
    parser.add_argument(
        "--checks", action=argparse.BooleanOptionalAction, default=True, help="Whether exactness is checked."
    )
    parser.add_argument("--keep", type=Path, help="Keep the models in this folder, for --kept.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    checkpoint: str | None,
    arch: str | None,
    kept: Path | None,
    calib: Path | None,
    val: Path | None,
    count: int,
    images: int,
    mixed: str | None,
    threads: tuple[int, ...],
    batches: tuple[int, ...],
    rounds: int,
    openvino: bool,
    checks: bool,
    keep: Path | None,
    json_path: Path | None,
) -> None:
    if sum(source is not None for source in (checkpoint, arch, kept)) != 1:
        raise MptqError("name a CHECKPOINT, --random ARCH or --kept DIR")
    if checkpoint is not None and calib is None:
        raise MptqError("a CHECKPOINT needs --calib")
    if checkpoint is None and (calib or val):
        raise MptqError("--random and --kept have neither --calib nor --val")
    report: dict[str, Any] = {"cpu": asdict(detect_cpu()), "onnxruntime": ort.__version__, "rounds": rounds}
    settings = [(number, batch) for batch in batches for number in threads]
    with _folder(keep) as folder:
        if kept is not None:
            peers = kept_peers(kept, openvino)
            report |= {"model": kept.name, "models": timed(peers, settings, rounds)}
        else:
            model = checkpoint or str(write_random_checkpoint(str(arch), folder / "random.pt"))
            preprocessing = load_model(model).preprocessing
            inputs = list(open_calibration(calib, preprocessing, count=count).batches(1))
            floating = folder / "float.onnx"
            asked = CalibrationRequest(calib, count)
            ours = our_peers(ModelRequest(model), asked, floating, folder, mixed)
            peers = [onnx_peer("float32", floating), *static_peers(floating, inputs, folder), *ours]
            if openvino:
                try:
                    peers += openvino_peers(floating, inputs, folder)
                except ModuleNotFoundError as error:
                    report["left_out"] = f"OpenVINO: {error}"
            rows = timed(peers, settings, rounds)
            for peer, row in zip(peers, rows, strict=True):
                if val is not None:
                    row["top1"] = top1(peer, val, preprocessing, images)
                if checks:
                    row.update(exactness(peer, np.concatenate(inputs[:CHECKED_IMAGES]), ours=peer in ours))
            report |= {"model": arch or Path(model).name, "models": rows, "calibration_images": len(inputs)}
    write_json(json_path, report)
    show(report, CHECKED_IMAGES, Console(highlight=False))


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MptqError(f"--keep {keep} is no folder that can be made: {error.strerror}; name another") from error
        yield keep


def our_peers(
    model: ModelRequest, calibration: CalibrationRequest, floating: Path, folder: Path, mixed: str | None
) -> list[Peer]:
    """Our files; the float file is written beside the first.

    Args:
        model: what to export.
        calibration: on what.
        floating: the float file.
        folder: where the files go.
        mixed: budget of a mixed file, if one is wanted.
    """
    plans: dict[str, Plan] = {}
    for bits in OURS:
        weights, activations = (int(width) for width in bits.split("/"))
        plans[bits] = Uniform((weights, activations))
    if mixed is not None:
        plans[f"mixed {mixed}"] = Searched(
            SearchRequest((Budget.parse(mixed),), WidthDomain.of_range(range(3, 9)), tied=False, pins={})
        )
    peers: list[Peer] = []
    for name, plan in plans.items():
        out = our_file(folder, name) if name in OURS else folder / "ours.mixed.onnx"
        outputs = Outputs(out, float_onnx=None if peers else floating, force=True)
        export_model(ExportRequest(model, plan, outputs, calibration), Terminal())
        peers.append(onnx_peer(f"ours {name}", out))
    return peers


def kept_peers(folder: Path, openvino: bool) -> list[Peer]:
    """The models that an earlier run kept.

    Raises:
        MptqError: the folder lacks one that ratios are taken to.
    """
    files = {"float32": folder / "float.onnx"}
    files |= {f"ORT static {name}": folder / f"static.{name}.onnx" for name in VARIANTS}
    files |= {f"ours {bits}": our_file(folder, bits) for bits in OURS}
    files["ours mixed"] = folder / "ours.mixed.onnx"
    peers = [onnx_peer(name, path) for name, path in files.items() if path.exists()]
    if openvino:
        peers += [openvino_peer(path) for path in sorted(folder.glob("openvino.*.xml"))]
    names = {peer.name for peer in peers}
    for name in ("float32", *BASES):
        if name not in names:
            raise MptqError(f"{folder} has no {files[name].name}; keep models with --keep first")
    return peers


def our_file(folder: Path, bits: str) -> Path:
    """Where our file of a width lies."""
    return folder / "ours.w{}a{}.onnx".format(*bits.split("/"))


def timed(peers: list[Peer], settings: list[tuple[int, int]], rounds: int) -> list[dict[str, Any]]:
    """Latency and size of each peer, and its latency over that of each of `BASES` in the same round.

    Args:
        peers: all of them; the first is an ONNX file, whose input the others share.
        settings: threads and batch size of every table.
        rounds: timed runs of each.
    """
    (path,) = peers[0].files
    rows: list[dict[str, Any]] = [{"name": p.name, "file_bytes": p.file_bytes, "timings": []} for p in peers]
    for threads, batch in settings:
        (feed,) = feed_of(read_spec(path), batch).values()
        predicts = {peer.name: peer.open(threads, batch) for peer in peers}
        runners = {name: lambda predict=predict, feed=feed: predict(feed) for name, predict in predicts.items()}
        seconds = interleave(runners, rounds, Terminal())
        for row in rows:
            own = seconds[row["name"]]
            ratios = {base: asdict(Quartiles.of(own / seconds[base])) for base in BASES}
            latency = asdict(Quartiles.of(own * 1e3))
            row["timings"].append({"threads": threads, "batch": batch, "latency_ms": latency, "over": ratios})
    return rows


def top1(peer: Peer, val: Path, preprocessing: Preprocessing, limit: int) -> float | None:
    """Share of the images whose label is the largest logit."""
    folder = ImageFolder(val, preprocessing, limit=limit, labels=True)
    predict = peer.open(1, 1)
    batches = tracked(folder.batches(1), Terminal(), f"evaluating {peer.name}", len(folder))
    return evaluate(batches, folder.labels, lambda pixels: predict(preprocessing.normalize(pixels))).quantised.top1


def exactness(peer: Peer, images: np.ndarray, *, ours: bool) -> dict[str, Any]:
    """What was checked about the sameness of its values: `stability`, the kernels, and for ours every tensor."""
    found: dict[str, Any] = {"stability": stability(peer, images)}
    if peer.is_onnx:
        (path,) = peer.files
        plan = read_kernel_plan(path)
        found["matmuls"] = {"integer": len(plan.integer), "float": len(plan.floating)}
    if ours:
        report = verify_model(path, [image[None] for image in images])
        found["verified"] = {"differing": report.differing, "values": report.values}
    return found


if __name__ == "__main__":
    sys.exit(main())
