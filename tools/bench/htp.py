"""Files on Qualcomm's HTP simulator over many images: whole or not, KL to float, top-1.

    python -m tools.bench.htp FILE.onnx[=FLOAT.onnx] ... --data VAL --out DIR [--images 100] [--jobs 16] [--soc SM8650]
        [--json FILE]

The simulator takes seconds an image and one thread. Every process opens a file and runs images of its own, one at a
time; what each image gives lies in DIR at once, so that an interrupted run goes on where it was. FLOAT.onnx is the
float companion of a file (`mptq-export --float-onnx`). Without --soc the simulator stands for HTP v68. A file that HTP
refuses is named, and the others go on.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import exif_of
from mptq_export.evaluate.data import names_for
from mptq_export.evaluate.given import Given
from mptq_export.evaluate.metrics import agreement, divergences, mean_interval, share_interval, top_k
from mptq_export.runtime.edge.form import TARGET_KEY
from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.graph_input import declared_input, graph_input
from mptq_export.runtime.pixels import to_graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_atomic, write_text
from mptq_export.support.hashes import sha256_of
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from tools.options import Parser, existing, positive


@dataclass(frozen=True)
class Job:
    """A file, some of the images, and where the results lie."""

    model: str
    floating: str | None
    soc: str | None
    pixels: tuple[str, ...]
    out: str


@dataclass(frozen=True)
class Row:
    """One file over all images.

    Attributes:
        whole: nothing is left to the CPU.
        in_integers: nothing computes in floats.
        left: ops that are left, or compute in floats.
        top1: share of right answers of HTP, of the file as written, and of the float model.
        kl: mean KL to the float model of HTP and of the file as written, in nats; None without a float model.
        agreement: share of equal top-1 of HTP and the file as written.
    """

    file: str
    bits: str
    target: str
    device: str
    whole: bool
    in_integers: bool
    left: tuple[str, ...]
    images: int
    top1: float
    top1_written: float
    top1_float: float | None
    kl: float | None
    kl_interval: tuple[float, float] | None
    kl_written: float | None
    agreement: float
    agreement_interval: tuple[float, float]
    seconds: float


def run(job: Job) -> int:
    """Run the images of a job in this process; gives how many."""
    model, out = Path(job.model), Path(job.out)
    document = load_onnx(model)
    metadata, spec = metadata_of(document), declared_input(document)
    del document
    normalize = Preprocessing.from_metadata(metadata).normalize
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    written = open_session(model, options, threads=1)
    name = Given.by(metadata, written).outputs[0].name
    there = open_edge("qnn", model, EdgeOptions(soc=job.soc))
    write_text(
        out / "placement.json", json.dumps({"device": there.device, "ops": [asdict(op) for op in there.placement.ops]})
    )
    floating = None if job.floating is None else open_session(Path(job.floating), threads=1)
    for path in map(Path, job.pixels):
        pixels = np.load(path)[None]
        x = to_graph_input(pixels, spec, normalize)
        start = perf_counter()
        found = {"there": there.run(x)[name]}
        found["seconds"] = np.array(perf_counter() - start)
        found["written"] = run_session(written, [name], {spec.name: x})[name]
        if floating is not None:
            taken = graph_input(floating)
            (found["float"],) = floating.run(None, {taken.name: to_graph_input(pixels, taken, normalize)})[:1]
        _save(out / f"{path.stem}.npz", found)
    return len(job.pixels)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    def write(temporary: Path) -> None:
        np.savez(temporary, **arrays)

    write_atomic(path, write)


def prepared(model: Path, data: Path, images: int, out: Path) -> tuple[list[Path], np.ndarray[Any, Any]]:
    """The images as pixels on disk, named by what they hold, and their labels."""
    session = open_session(model)
    metadata = metadata_of(load_onnx(model))
    given = Given.by(metadata, session)
    names, _ = names_for(model, metadata, None, given.classes, classifies=given.classifies)
    folder = ImageFolder(
        data, Preprocessing.from_metadata(metadata), limit=images, labels=True, names=names, logits=given.classes,
        exif=exif_of(metadata),
    )  # fmt: skip
    paths = []
    for pixels in folder.images():
        path = out / "pixels" / f"{hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()[:20]}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, pixels)
        paths.append(path)
    assert folder.labels is not None
    return paths, folder.labels


def jobs_of(
    model: Path, floating: Path | None, soc: str | None, paths: Sequence[Path], out: Path, share: int
) -> Iterator[Job]:
    """What is still to be run of a file, in so many parts."""
    missing = [str(path) for path in paths if not (out / f"{path.stem}.npz").exists()]
    for start in range(min(share, len(missing))):
        yield Job(str(model), None if floating is None else str(floating), soc, tuple(missing[start::share]), str(out))


def row_of(model: Path, paths: Sequence[Path], labels: np.ndarray[Any, Any], out: Path) -> Row:
    """What the results of a file say."""
    held = [np.load(out / f"{path.stem}.npz") for path in paths]
    there, written = (np.concatenate([each[side] for each in held]) for side in ("there", "written"))
    exact = np.concatenate([each["float"] for each in held]) if "float" in held[0] else None
    kl = None if exact is None else divergences(exact, there)
    placement = json.loads((out / "placement.json").read_text())
    left = [op for op in placement["ops"] if not op["accelerated"]]
    floats = [op for op in placement["ops"] if op["integer"] is False]
    metadata = metadata_of(load_onnx(model))
    equal = agreement(written, there)
    return Row(
        file=str(model),
        bits=metadata.get("mptq.bits", ""),
        target=metadata.get(TARGET_KEY, ""),
        device=placement["device"],
        whole=not left,
        in_integers=not floats,
        left=tuple(f"{op['count']} {op['op']} {op['numbers']}".strip() for op in (*left, *floats)),
        images=len(held),
        top1=top_k(there, labels, 1),
        top1_written=top_k(written, labels, 1),
        top1_float=None if exact is None else top_k(exact, labels, 1),
        kl=None if kl is None else float(kl.mean()),
        kl_interval=None if kl is None else mean_interval(kl),
        kl_written=None if exact is None else float(divergences(exact, written).mean()),
        agreement=equal,
        agreement_interval=share_interval(round(equal * len(held)), len(held)),
        seconds=float(np.mean([each["seconds"] for each in held])),
    )


def show(rows: Sequence[Row]) -> None:
    table = Table(
        "file",
        "bits",
        "whole",
        "integers",
        "images",
        "top-1",
        "written",
        "float",
        "KL to float",
        "written",
        "equal",
        "s",
    )
    for row in rows:
        low, high = row.kl_interval or (0.0, 0.0)
        table.add_row(
            Path(row.file).name,
            row.bits,
            "yes" if row.whole else "NO",
            "yes" if row.in_integers else "NO",
            str(row.images),
            f"{row.top1:.1%}",
            f"{row.top1_written:.1%}",
            "-" if row.top1_float is None else f"{row.top1_float:.1%}",
            "-" if row.kl is None else f"{row.kl:.5f} ({low:.5f}-{high:.5f})",
            "-" if row.kl_written is None else f"{row.kl_written:.5f}",
            f"{row.agreement:.1%}",
            f"{row.seconds:.2f}",
        )
    Console(width=170).print(table)


def measure(
    *, files: list[str], data: Path, out: Path, images: int, jobs: int, soc: str | None, json_path: Path | None
) -> int:
    files_of: list[tuple[Path, list[Path], np.ndarray[Any, Any], Path]] = []
    refused: dict[Path, str] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {}
        for text in files:
            name, _, floating = text.partition("=")
            model = Path(name)
            place = out / f"{model.stem}-{sha256_of(model)[:12]}{'-' + soc if soc else ''}"
            place.mkdir(parents=True, exist_ok=True)
            paths, labels = prepared(model, data, images, out)
            files_of.append((model, paths, labels, place))
            parts = jobs_of(model, Path(floating) if floating else None, soc, paths, place, jobs)
            waiting.update({pool.submit(run, job): model for job in parts})
        done = 0
        for future in as_completed(waiting):
            try:
                done += future.result()
                print(f"{done} images run", file=sys.stderr, flush=True)
            except MptqError as error:
                refused[waiting[future]] = str(error)
    rows = [row_of(model, paths, labels, place) for model, paths, labels, place in files_of if model not in refused]
    for model, why in refused.items():
        print(f"{model}: {why}", file=sys.stderr)
    show(rows)
    if json_path is not None:
        write_text(json_path, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(bool(refused))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.htp", __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.onnx[=FLOAT.onnx]")
    parser.add_argument("--data", type=existing, required=True, help="folder of class folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--images", type=positive, default=100)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--soc", help="what the simulator stands for, such as SM8650")
    parser.add_json()
    return parser.run(measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
