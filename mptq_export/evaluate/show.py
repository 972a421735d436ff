"""An evaluation for people."""

from rich.console import Console
from rich.table import Table

from mptq_export.evaluate.dense import DenseReport
from mptq_export.evaluate.edge import RanIn
from mptq_export.evaluate.embeddings import Closeness, EmbeddingReport, KnnAccuracy
from mptq_export.evaluate.logits import Accuracy, EvalReport
from mptq_export.evaluate.metrics import share_text, share_within
from mptq_export.evaluate.neighbours import Neighbours
from mptq_export.evaluate.outputs import OutputsReport

NOTHING = "-"

#: Columns that a table of accuracies may take: its lines are not broken, whatever the console has.
_WIDTH = 100


def show_report(
    report: OutputsReport, console: Console, labels: str | None = None, ran_in: RanIn | None = None
) -> None:
    """Print what was measured of every output: of a classifier its accuracies, else a part an output.

    Args:
        report: what was measured.
        console: where it goes.
        labels: how the images got their labels.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """
    show_ran_in(ran_in, console)
    classifier = report.logits
    if classifier is not None:
        console.print(f"{report.images} images, {classifier.classes} classes")
    else:
        console.print(f"{report.images} images, {len(report.outputs)} output{'s' if len(report.outputs) > 1 else ''}")
    if labels is not None:
        console.print(f"labels: {labels}", markup=False, soft_wrap=True)
    for each in report.outputs:
        if isinstance(each, EvalReport):
            if classifier is None:
                console.print(f"{each.output}: {each.kind}, {each.classes} classes", markup=False)
            _show_logits(each, console)
        elif isinstance(each, EmbeddingReport):
            console.print(f"{each.output}: {each.kind}, {each.channels} channels", markup=False)
            _show_embedding(each, report.images, console)
    dense = [each for each in report.outputs if isinstance(each, DenseReport)]
    if dense:
        _show_dense(dense, console)


def show_ran_in(ran_in: RanIn | None, console: Console) -> None:
    """Print what another runtime ran the file on; nothing for onnxruntime on this CPU."""
    if ran_in is not None:
        pace = "" if ran_in.seconds is None else f", {ran_in.seconds:.2f} s an image"
        console.print(f"on the {ran_in.device} ({ran_in.version}){pace}", markup=False, soft_wrap=True)


def _show_logits(report: EvalReport, console: Console) -> None:
    """The accuracies as a table and the distance to the float model below it."""
    if report.quantised.top1 is not None:
        table = Table("model", "top-1", "top-5", box=None, padding=(0, 2))
        table.add_row("quantised", *_accuracies(report.quantised, report.images))
        if report.floating is not None:
            table.add_row("float", *_accuracies(report.floating, report.images))
        console.print(table, width=_WIDTH, crop=False)
    if report.agreement is not None and report.kl_interval is not None:
        low, high = report.kl_interval
        console.print(f"agreement with float {_share(report.agreement, report.images)}")
        console.print(f"mean KL(float || quantised) {report.mean_kl:.5f} nats (95%: {low:.5f} to {high:.5f})")
        console.print(f"cosine of the logits {report.cosine:.5f}")


def _show_embedding(report: EmbeddingReport, images: int, console: Console) -> None:
    """Direction and neighbours beside float, and the classes that neighbours name."""
    if report.beside_float is not None:
        _show_closeness(report.beside_float, console)
    if report.quantised is not None:
        table = Table("model", "1-NN accuracy", "10-NN accuracy", box=None, padding=(0, 2))
        table.add_row("quantised", *_knn(report.quantised, images))
        if report.floating is not None:
            table.add_row("float", *_knn(report.floating, images))
        console.print(table, width=_WIDTH, crop=False)


def _show_closeness(found: Closeness, console: Console) -> None:
    low, high = found.cosine_interval
    console.print(
        f"cosine to float {found.cosine:.5f} (95%: {low:.5f} to {high:.5f}; lowest {found.lowest_cosine:.5f})"
    )
    if found.neighbours is not None:
        for line in _neighbours(found.neighbours):
            console.print(line)


def _neighbours(found: Neighbours) -> list[str]:
    low, high = found.nearest_interval
    lines = [f"nearest neighbour kept {found.nearest:.2%} (95%: {low:.2%} to {high:.2%})"]
    if found.ten is not None and found.ten_interval is not None:
        low, high = found.ten_interval
        lines.append(f"10 nearest neighbours kept {found.ten:.2%} (95%: {low:.2%} to {high:.2%})")
    return lines


def _show_dense(reports: list[DenseReport], console: Console) -> None:
    """A line an output."""
    objects = any(each.agreement is not None for each in reports)
    last = ("same class",) if objects else ()
    table = Table("output", "kind", "shape", "SQNR", "cosine", *last, box=None, padding=(0, 2))
    for each in reports:
        beside = each.cosine is not None
        sqnr = NOTHING if not beside else "no error" if each.sqnr_db is None else f"{each.sqnr_db:.2f} dB"
        cosine = f"{each.cosine:.5f}" if each.cosine is not None else NOTHING
        same = NOTHING if each.agreement is None else f"{each.agreement:.2%}"
        shape = "x".join(map(str, each.shape))
        table.add_row(each.output, each.kind, shape, sqnr, cosine, *([same] if objects else []))
    console.print(table)


def _accuracies(accuracy: Accuracy, images: int) -> tuple[str, str]:
    return _share(accuracy.top1, images), _share(accuracy.top5, images)


def _knn(accuracy: KnnAccuracy, images: int) -> tuple[str, str]:
    return _share(accuracy.nearest, images), _share(accuracy.ten, images)


def _share(value: float | None, images: int) -> str:
    return NOTHING if value is None else f"{share_text(value, images)} ({share_within(value, images)})"
