"""An evaluation of a detector for people."""

from rich.console import Console
from rich.table import Table

from mptq_export.evaluate.detection.agreement import SURE, FoundAgain
from mptq_export.evaluate.detection.average_precision import AveragePrecision
from mptq_export.evaluate.detection.report import DetectionEvaluated, Precision
from mptq_export.evaluate.show import NOTHING, show_ran_in

_COLUMNS = ("AP", "AP50", "AP75", "small", "medium", "large")


def show_detection(found: DetectionEvaluated, console: Console) -> None:
    """Print average precision in points of 100, and how alike the file and its float model are."""
    report, labels = found.report, found.about["labels"]
    show_ran_in(found.ran_in, console)
    if report.objects is None:
        console.print(f"{report.images} images, no annotations")
    else:
        crowds = f" and {report.crowds} crowds" if report.crowds else ""
        console.print(
            f"{report.images} images ({report.empty} without objects), {report.objects} objects{crowds} of "
            f"{report.categories} categories"
        )
        console.print(f"labels: {labels}", markup=False, soft_wrap=True)
    for each in report.precision:
        _show_precision(each, console)
    if report.found_again is not None:
        _show_again("detections of float found again", report.found_again.of_float, console)
        _show_again("detections that float has, too", report.found_again.of_quantised, console)


def _show_precision(found: Precision, console: Console) -> None:
    table = Table(f"{found.kind}", *_COLUMNS, box=None, padding=(0, 2))
    table.add_row("quantised", *_points(found.quantised))
    if found.floating is not None:
        table.add_row("float", *_points(found.floating))
    console.print(table)
    if found.quantised_interval is not None:
        low, high = (100 * bound for bound in found.quantised_interval)
        console.print(f"{found.kind} AP of the file: 95% within {low:.1f} to {high:.1f}")
    if found.difference is not None:
        within = ""
        if found.difference_interval is not None:
            low, high = (100 * bound for bound in found.difference_interval)
            within = f" (95%: {low:+.2f} to {high:+.2f})"
        console.print(f"{found.kind} AP less that of float {100 * found.difference:+.2f}{within}")


def _points(figures: AveragePrecision) -> tuple[str, ...]:
    values = (figures.ap, figures.ap50, figures.ap75, figures.small, figures.medium, figures.large)
    return tuple(NOTHING if value is None else f"{100 * value:.2f}" for value in values)


def _show_again(what: str, found: FoundAgain, console: Console) -> None:
    if found.at_50 is None or found.at_75 is None or found.at_50_interval is None:
        console.print(f"{what}: there are none with a score of {SURE} or more", soft_wrap=True)
        return
    low, high = found.at_50_interval
    console.print(
        f"{what} {found.at_50:.2%} at IoU 0.5 (95%: {low:.2%} to {high:.2%}), {found.at_75:.2%} at 0.75, of "
        f"{found.detections} with a score of {SURE} or more",
        soft_wrap=True,
    )
