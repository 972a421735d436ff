"""An evaluation for people."""

from rich.console import Console
from rich.table import Table

from mptq_export.evaluate.maps import MapsReport
from mptq_export.evaluate.run import Accuracy, EvalReport


def show_report(report: EvalReport, console: Console, labels: str | None = None) -> None:
    """Print the accuracies as a table and the distance to the float model below it.

    Args:
        report: what was measured.
        console: where it goes.
        labels: how the images got their labels.
    """
    table = Table("model", "top-1", "top-5", box=None, padding=(0, 2))
    table.add_row("quantised", *_cells(report.quantised))
    if report.floating is not None:
        table.add_row("float", *_cells(report.floating))
    console.print(f"{report.images} images, {report.classes} classes")
    if labels is not None:
        console.print(f"labels: {labels}", markup=False, soft_wrap=True)
    console.print(table)
    if report.agreement is not None and report.kl_interval is not None:
        low, high = report.kl_interval
        console.print(f"agreement with float {report.agreement:.2%}")
        console.print(f"mean KL(float || quantised) {report.mean_kl:.5f} nats (95%: {low:.5f} to {high:.5f})")


def show_maps(report: MapsReport, console: Console) -> None:
    """Print a line an output."""
    table = Table("output", "shape", "SQNR", "cosine", box=None, padding=(0, 2))
    for each in report.maps:
        sqnr = "no error" if each.sqnr_db is None else f"{each.sqnr_db:.2f} dB"
        table.add_row(each.output, "x".join(map(str, each.shape)), sqnr, f"{each.cosine:.5f}")
    console.print(f"{report.images} images, {len(report.maps)} outputs beside the float model's")
    console.print(table)


def _cells(accuracy: Accuracy) -> tuple[str, str]:
    top1, top5 = accuracy.top1, accuracy.top5
    return ("-" if top1 is None else f"{top1:.2%}", "-" if top5 is None else f"{top5:.2%}")
