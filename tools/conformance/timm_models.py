"""Every transformer of timm's registry: captured, exported at 8/8, and compared with the reference tensor by tensor.

    python -m tools.conformance docs/models.jsonl [--only 'vit_*'] [--again refused] [--jobs N] [--table docs/models.md]

Weights are random (unit gain, biases that are not zero), images are synthetic and as small as the model allows. A
result is one line of the file; what is there already is not tried again, so that an interrupted run goes on. `--again`
tries what the file says was refused (or failed) once more. `--table` writes what the file holds as Markdown.
"""

import contextlib
import fnmatch
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import timm
import torch
from rich.progress import track
from timm.models import list_models

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.compare_batches import check_capture, probe_images
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.run import capture
from mptq_export.data.synthetic import dead_leaves
from mptq_export.emit.exact.emitter import emit
from mptq_export.load.timm.fit import build_meta
from mptq_export.load.timm.preprocess import preprocessing_of
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import MINMAX
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model
from tools.bench.random_checkpoint import randomise
from tools.options import Parser, Repeated, positive

#: timm's modules with transformers in them, by name.
FAMILIES = (
    "beit", "cait", "coat", "convit", "crossvit", "davit", "deepseek_vit", "deit", "edgenext", "efficientformer",
    "efficientformer_v2", "eva", "gcvit", "gemma4_vit", "hiera", "hieradet_sam2", "levit", "maxxvit", "mlp_mixer",
    "mobilevit", "mvitv2", "naflexvit", "nest", "pit", "pvt_v2", "qwen3_vit", "swin_transformer",
    "swin_transformer_v2", "swin_transformer_v2_cr", "tiny_vit", "tnt", "twins", "visformer", "vision_transformer",
    "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam", "vitamin", "volo", "xcit",
)  # fmt: skip

#: Images a model is calibrated on; the last two are compared.
IMAGES = 4

#: Largest relative difference between the captured graph and the model.
SAME = 1e-3

EXACT, REFUSED, FAILED, TOO_LARGE = "exact", "refused", "failed", "too large"


@dataclass(frozen=True)
class Row:
    """What became of one architecture.

    Attributes:
        arch: timm name.
        family: timm's module.
        status: `exact`, `refused`, `failed` or `too large`.
        detail: the reason, or how many values were compared.
        parameters: of the model.
        image: side of the image in pixels.
        seconds: wall-clock time.
    """

    arch: str
    family: str
    status: str
    detail: str
    parameters: int
    image: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("conformance", __doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", action=Repeated, default=("*",), help="Architectures, by shell pattern.")
    parser.add_argument("--again", action=Repeated, default=(), help="Statuses in the file that are tried once more.")
    parser.add_argument("--jobs", type=positive, default=1, help="Models at a time.")
    parser.add_argument(
        "--most", type=positive, default=350, help="Largest model that is tried, in millions of parameters."
    )
    parser.add_argument("--timeout", type=positive, default=900, help="Seconds for one model.")
    parser.add_argument("--table", type=Path, help="Write the results as Markdown.")
    return parser.run(run, arguments)


def run(
    *,
    results: Path,
    only: tuple[str, ...],
    again: tuple[str, ...],
    jobs: int,
    most: int,
    timeout: int,
    table: Path | None,
) -> None:
    torch.set_num_threads(1)
    kept = [row for row in read(results) if row.status not in again]
    known = {row.arch for row in kept if row.status != TOO_LARGE or row.parameters > most * 1_000_000}
    wanted = [
        (name, family)
        for family in FAMILIES
        for name in list_models(module=family)
        if name not in known and any(fnmatch.fnmatch(name, pattern) for pattern in only)
    ]
    with ThreadPoolExecutor(jobs) as pool, results.open("a", encoding="utf-8") as file:
        started = [pool.submit(in_process, *job, most * 1_000_000, timeout) for job in wanted]
        for done in track(as_completed(started), "examining", len(wanted), transient=True):
            file.write(json.dumps(asdict(done.result())) + "\n")
            file.flush()
    rows_now = read(results)
    results.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows_now), encoding="utf-8")
    for status in (EXACT, REFUSED, FAILED, TOO_LARGE):
        print(f"{status}: {sum(row.status == status for row in rows_now)}")
    if table is not None:
        table.write_text(markdown(rows_now), encoding="utf-8")


def read(path: Path) -> list[Row]:
    """The last row of every architecture of earlier runs; a cut last line is left out."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = Row(**json.loads(line))
        except ValueError:
            continue
        rows[row.arch] = row
    return list(rows.values())


def in_process(arch: str, family: str, most: int, timeout: float) -> Row:
    """Examine an architecture in a process of its own, which may die or hang."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, arch, family, most))
    start = time.perf_counter()
    process.start()
    theirs.close()
    detail = f"no result after {timeout} s"
    try:
        if ours.poll(timeout):
            row: Row = ours.recv()
            return row
    except EOFError:
        detail = "the process died"
    finally:
        process.kill()
        process.join()
    return Row(arch, family, FAILED, detail, 0, 0, round(time.perf_counter() - start, 1))


def _send(connection: Connection, arch: str, family: str, most: int) -> None:
    connection.send(examine(arch, family, most))


def examine(arch: str, family: str, most: int) -> Row:
    """Build, export and compare one architecture."""
    start = time.perf_counter()
    parameters = side = 0
    try:
        arguments, side, parameters = smallest(arch)
        if parameters > most:
            status, detail = TOO_LARGE, f"{parameters / 1e6:.0f} million parameters"
        else:
            status, detail = EXACT, f"{exported(randomised(arch, arguments), side):,} values"
    except MptqError as error:
        status, detail = REFUSED, str(error)
    except Exception as error:  # noqa: BLE001 - a defect is a result here
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        status, detail = FAILED, f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {first}"
    return Row(arch, family, status, detail, parameters, side, round(time.perf_counter() - start, 1))


def smallest(arch: str) -> tuple[dict[str, Any], int, int]:
    """Arguments for the smallest image that the model can be built for, its side, and the parameters."""
    plain = build_meta(arch, {})
    side = int(plain.pretrained_cfg["input_size"][-1])  # type: ignore[index]
    count = sum(parameter.numel() for parameter in plain.parameters())
    for smaller in _sides(plain, side):
        for arguments in ({"img_size": smaller}, {}):  # some models take any image
            with contextlib.suppress(Exception):  # timm raises what it likes; the next size is tried
                build_meta(arch, arguments).eval()(torch.zeros(1, 3, smaller, smaller, device="meta"))
                return arguments, smaller, count
    return {}, side, count


def _sides(model: torch.nn.Module, side: int) -> Iterator[int]:
    """Smaller image sides, smallest first: a few patches, or windows that still tile every stage."""
    embed: Any = getattr(model, "patch_embed", None)
    patch = embed.feat_ratio() if hasattr(embed, "feat_ratio") else getattr(embed, "patch_size", None) or 16
    patch = patch[0] if isinstance(patch, (tuple, list)) else int(patch)
    if hasattr(model, "layers") or hasattr(model, "stages"):  # windows, halved between stages
        yield from (s for s in (side // 2,) if s % (patch * 8) == 0)
    else:
        yield from (s for s in (patch * 4, patch * 8) if s < side)


def randomised(arch: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """A model with random weights of unit gain, norms near one, and biases that are not zero."""
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model(arch, **arguments).requires_grad_(False).eval()
    randomise(model)
    return model


def exported(model: torch.nn.Module, side: int) -> int:
    """Export at 8/8 and compare; the number of equal values.

    Raises:
        MptqError: the model has no integer form.
        ValueError: the captured graph is another function, or the file differs from the reference.
    """
    preprocessing = preprocessing_of(model)
    size = (preprocessing.input_size[0], side, side)
    mean, std = (np.array(part, np.float32).reshape(-1, 1, 1) for part in (preprocessing.mean, preprocessing.std))
    pixels = dead_leaves(IMAGES, side).transpose(0, 3, 1, 2).astype(np.float32)
    images = torch.from_numpy((pixels / 255 - mean) / std)
    captured = capture(model, size)
    with torch.no_grad():
        wanted, found = model(images), evaluate(captured, images)
    error = float((found - wanted).abs().max() / wanted.abs().max())
    if not error <= SAME:
        raise ValueError(f"the captured graph differs from the model by {error:.1e} of its largest output")
    probe = probe_images(images)
    check_capture(captured, model, probe)
    graph = prepare(captured, probe, (preprocessing.mean, preprocessing.std))
    stats = collect(graph, [images.numpy()])
    graph, recipe = build_recipe(CalibratedGraph(graph, stats, images), lambda _: (8, 8), MINMAX)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(emit(graph, recipe, input_type="float32", producer="conformance"), path)
        report = verify_model(path, [images[-2:].numpy()])
    if not report.passed:
        raise ValueError(
            f"{report.verdict}: {report.differing} values differ, {len(report.plan.floating)} matmuls in float, not "
            f"proved: {'; '.join(report.reservations) or 'nothing'}"
        )
    return report.values


def markdown(rows: list[Row]) -> str:
    """The results by family."""
    lines = ["# Models", ""]
    lines += [
        "Every transformer architecture of timm's registry with random weights, exported at 8/8 and compared with"
    ]
    lines += ["`kernels_ref` on two images, every tensor. Made by", ""]
    lines += ["    python -m tools.conformance docs/models.jsonl --table docs/models.md", ""]
    lines += ["`docs/models.jsonl` has a line for each: image size, parameters, values compared, seconds.", ""]
    total = sum(len(list_models(module=family)) for family in FAMILIES)
    lines += [f"{len(rows)} of {total} architectures have been tried.", ""]
    lines += ["| family (timm module) | exact | refused | failed | too large to try |", "|---|---|---|---|---|"]
    statuses = (EXACT, REFUSED, FAILED, TOO_LARGE)
    families = sorted({row.family for row in rows})
    for family in families:
        counts = [sum(r.family == family and r.status == s for r in rows) for s in statuses]
        lines.append(f"| {family} | " + " | ".join(str(count or "") for count in counts) + " |")
    totals = [sum(r.status == s for r in rows) for s in statuses]
    lines.append("| **all** | " + " | ".join(f"**{count}**" for count in totals) + " |")
    for status in statuses:
        found = sorted((r for r in rows if r.status == status), key=lambda r: (r.family, r.arch))
        if not found:
            continue
        lines += ["", f"## {status.capitalize()}", ""]
        if status == EXACT:
            for family in sorted({r.family for r in found}):
                names = ", ".join(f"`{r.arch}`" for r in found if r.family == family)
                lines.append(f"- **{family}**: {names}")
        else:
            lines += [f"- `{r.arch}`: {r.detail}" for r in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
