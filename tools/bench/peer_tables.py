"""The tables of `peers.py`."""

from typing import Any

from rich.console import Console
from rich.table import Table

from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles
from mptq_export.bench.show import spread


def show(report: dict[str, Any], checked_images: int, console: Console) -> None:
    """Print a table for every number of threads and batch size, and what was checked.

    Args:
        report: what `peers.py` also writes as JSON.
        checked_images: number of images whose logits were compared.
        console: where to print.
    """
    rows = report["models"]
    calibration = f", {report['calibration_images']} calibration images" if "calibration_images" in report else ""
    console.print(
        f"{report['model']}, {detect_cpu().description}; onnxruntime {report['onnxruntime']}, "
        f"{report['rounds']} rounds{calibration}",
        soft_wrap=True,
    )
    for number, timing in enumerate(rows[0]["timings"]):
        console.print(f"\nthreads {timing['threads']}, batch {timing['batch']}:")
        console.print(_latencies(rows, number))
    if "stability" in rows[0]:
        console.print(
            f"\nOf {rows[0]['stability']['logits']} logits of {checked_images} images, on this CPU, so many change "
            "with the batch (1, then all), with 2 threads, with onnxruntime's optimiser off, in kernels_ref; for ours, "
            "all values of the graph against kernels_ref; matmuls that run in float:",
            soft_wrap=True,
        )
        console.print(_exactness(rows))
    if "left_out" in report:
        console.print(f"left out: {report['left_out']}", soft_wrap=True)


def _latencies(rows: list[dict[str, Any]], number: int) -> Table:
    bases = rows[0]["timings"][number]["over"]
    table = Table("model", "ms", *(f"over {base}" for base in bases), "MB", box=None, padding=(0, 1))
    if "top1" in rows[0]:
        table.add_column("top-1")
    for row in rows:
        timing = row["timings"][number]
        ratios = (Quartiles(**timing["over"][base]) for base in bases)
        cells = [f"{ratio.median:.2f} ({spread(ratio)})" for ratio in ratios]
        cells = [f"{timing['latency_ms']['median']:.2f}", *cells, f"{row['file_bytes'] / 1e6:.2f}"]
        table.add_row(row["name"], *cells, *([f"{row['top1']:.1%}"] if "top1" in row else []))
    return table


def _exactness(rows: list[dict[str, Any]]) -> Table:
    changes = ("batch", "threads", "optimiser", "kernels_ref")
    table = Table("model", *changes, "all values", "in float", box=None, padding=(0, 1))
    for row in rows:
        cells = (str(row["stability"].get(change, "-")) for change in changes)
        verified, matmuls = row.get("verified"), row.get("matmuls")
        every = f"{verified['differing']} of {verified['values'] / 1e6:.1f}M" if verified else "-"
        plan = f"{matmuls['float']} of {sum(matmuls.values())}" if matmuls else "-"
        table.add_row(row["name"], *cells, every, plan)
    return table
