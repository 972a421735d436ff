"""Our files beside their peers: latency in turn, size, top-1, and how exact each is.

    python tools/bench/peers.py CHECKPOINT --calib DIR --val DIR [--mixed 4.5] [--threads 1] [--batch 1]
    python tools/bench/peers.py --random deit_small_patch16_224 [--threads 1] [--batch 1] [--json FILE] [--keep DIR]

All models come from one checkpoint and the same calibration images and run in turn in one process: the float32 ONNX
file; onnxruntime's quantize_static (QDQ, per channel, min/max) as u8s8, u8u8 and s8s8; ours at 8/8, 7/8 and 4/4; and
OpenVINO in float and int8, if openvino and nncf are installed (`pip install openvino nncf`). --random takes random
weights and synthetic images; there is no top-1 then.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from openvino_peers import openvino_peers
from peer import Peer, onnx_peer, stability
from random_checkpoint import write_random_checkpoint
from rich.console import Console
from rich.table import Table
from static_peers import static_peers

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.space import MixedSettings
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles, interleave
from mptq_export.bench.show import spread
from mptq_export.cli.common import MptqCommand, json_option, progress, write_json
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.source import open_calibration
from mptq_export.errors import MptqError
from mptq_export.evaluate.run import evaluate
from mptq_export.load.model import load_model
from mptq_export.mixed import export_mixed
from mptq_export.pipeline import ExportRequest, export_model
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernel_plan import read_kernel_plan

OURS = ("8/8", "7/8", "4/4")
#: Ratios are taken to these: the latency of a peer over ours.
BASES = ("ours 8/8", "ours 7/8")
CHECKED_IMAGES = 2


@click.command(cls=MptqCommand, help=__doc__)
@click.argument("checkpoint", required=False)
@click.option("--random", "arch", metavar="ARCH", help="timm architecture with random weights, in place of CHECKPOINT.")
@click.option("--calib", type=click.Path(path_type=Path), help="Calibration images.")
@click.option("--val", type=click.Path(path_type=Path), help="Validation images in class folders.")
@click.option("--count", type=click.IntRange(2), default=32, show_default=True, help="Calibration images.")
@click.option("--images", type=click.IntRange(1), default=1000, show_default=True, help="Validation images.")
@click.option("--mixed", metavar="BUDGET", help="Also search widths under this budget: minutes to hours.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the models in this folder, for mptq-bench.")
@json_option
def main(
    checkpoint: str | None,
    arch: str | None,
    calib: Path | None,
    val: Path | None,
    count: int,
    images: int,
    mixed: str | None,
    threads: int,
    batch: int,
    rounds: int,
    keep: Path | None,
    json_path: Path | None,
) -> None:
    if (checkpoint is None) == (arch is None):
        raise click.UsageError("Name a CHECKPOINT or --random ARCH.")
    if checkpoint is not None and (calib is None or val is None):
        raise click.UsageError("A CHECKPOINT needs --calib and --val.")
    if arch is not None and (calib or val):
        raise click.UsageError("--random has neither --calib nor --val.")
    with _folder(keep) as folder:
        model = checkpoint or str(write_random_checkpoint(str(arch), folder / "random.pt"))
        preprocessing = load_model(model).preprocessing
        inputs = list(open_calibration(calib, preprocessing, count=count).batches(1))
        floating = folder / "float.onnx"
        ours = our_peers(ExportRequest(model, floating, calib=calib, count=count, force=True), folder, mixed)
        peers = [onnx_peer("float32", floating), *static_peers(floating, inputs, folder), *ours]
        left_out = []
        try:
            peers += openvino_peers(floating, inputs, folder)
        except ModuleNotFoundError as error:
            left_out.append(f"OpenVINO: {error}")
        feed = np.concatenate(list(islice(inputs * batch, batch)))
        rows = measured(peers, feed, threads, rounds)
        for peer, row in zip(peers, rows, strict=True):
            row["top1"] = None if val is None else top1(peer, val, preprocessing, images)
            row.update(exactness(peer, np.concatenate(inputs[:CHECKED_IMAGES]), ours=peer in ours))
    report = {
        "model": arch or Path(model).name,
        "cpu": asdict(detect_cpu()),
        "onnxruntime": ort.__version__,
        **{"threads": threads, "batch": batch, "rounds": rounds, "calibration_images": len(inputs)},
        **{"left_out": left_out, "models": rows},
    }
    write_json(json_path, report)
    show(report, Console(highlight=False))


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


def our_peers(base: ExportRequest, folder: Path, mixed: str | None) -> list[Peer]:
    """Our files; the float file is written beside the first.

    Args:
        base: what to export, with the float file as `out`.
        folder: where the files go.
        mixed: budget of a mixed file, if one is wanted.
    """
    peers = []
    for bits in OURS:
        weights, activations = (int(width) for width in bits.split("/"))
        request = ExportRequest(
            base.model,
            folder / f"ours.w{weights}a{activations}.onnx",
            calib=base.calib,
            count=base.count,
            bits=(weights, activations),
            float_onnx=base.out if not peers else None,
            force=True,
        )
        export_model(request, progress)
        peers.append(onnx_peer(f"ours {bits}", request.out))
    if mixed is not None:
        out = folder / "ours.mixed.onnx"
        request = ExportRequest(base.model, out, calib=base.calib, count=base.count, force=True)
        settings = MixedSettings((Budget.parse(mixed),), range(3, 9), tied=False, pins={})
        export_mixed(request, settings, resume=False, track=progress)
        peers.append(onnx_peer(f"ours mixed {mixed}", out))
    return peers


def measured(peers: list[Peer], feed: np.ndarray, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Latency and size of each peer, and its latency over that of each of `BASES` in the same round."""
    predicts = {peer.name: peer.open(threads, len(feed)) for peer in peers}
    runners = {name: lambda predict=predict: predict(feed) for name, predict in predicts.items()}
    seconds = interleave(runners, rounds, progress)
    return [
        {
            "name": peer.name,
            "latency_ms": asdict(Quartiles.of(seconds[peer.name] * 1e3)),
            "over": {base: asdict(Quartiles.of(seconds[peer.name] / seconds[base])) for base in BASES},
            "file_bytes": peer.file_bytes,
        }
        for peer in peers
    ]


def top1(peer: Peer, val: Path, preprocessing: Preprocessing, limit: int) -> float | None:
    """Share of the images whose label is the largest logit."""
    folder = ImageFolder(val, preprocessing, limit=limit, labels=True)
    predict = peer.open(1, 1)
    batches = progress(folder.batches(1), f"evaluating {peer.name}", len(folder))
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


def show(report: dict[str, Any], console: Console) -> None:
    cpu, rows = detect_cpu().description, report["models"]
    console.print(
        f"{report['model']}, {cpu}; onnxruntime {report['onnxruntime']}, threads {report['threads']}, "
        f"batch {report['batch']}, {report['rounds']} rounds, {report['calibration_images']} calibration images",
        soft_wrap=True,
    )
    table = Table("model", "ms", *(f"over {base}" for base in BASES), "MB", "top-1", box=None, padding=(0, 1))
    for row in rows:
        ratios = (Quartiles(**row["over"][base]) for base in BASES)
        cells = (f"{ratio.median:.2f} ({spread(ratio)})" for ratio in ratios)
        accuracy = "-" if row["top1"] is None else f"{row['top1']:.1%}"
        latency, megabytes = f"{row['latency_ms']['median']:.2f}", f"{row['file_bytes'] / 1e6:.2f}"
        table.add_row(row["name"], latency, *cells, megabytes, accuracy)
    console.print(table)
    console.print(
        f"\nOf {rows[0]['stability']['logits']} logits of {CHECKED_IMAGES} images, on this CPU, so many change with "
        "the batch (1, then all), with 2 threads, with onnxruntime's optimiser off, in kernels_ref; for ours, all "
        "values of the graph against kernels_ref; matmuls that run in float:",
        soft_wrap=True,
    )
    changes = ("batch", "threads", "optimiser", "kernels_ref")
    table = Table("model", *changes, "all values", "in float", box=None, padding=(0, 1))
    for row in rows:
        cells = (str(row["stability"].get(change, "-")) for change in changes)
        verified, matmuls = row.get("verified"), row.get("matmuls")
        every = f"{verified['differing']} of {verified['values'] / 1e6:.1f}M" if verified else "-"
        plan = f"{matmuls['float']} of {sum(matmuls.values())}" if matmuls else "-"
        table.add_row(row["name"], *cells, every, plan)
    console.print(table)
    for reason in report["left_out"]:
        console.print(f"left out: {reason}", soft_wrap=True)


if __name__ == "__main__":
    main()
