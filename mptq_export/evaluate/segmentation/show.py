"""An evaluation of a segmentation for people."""

from rich.console import Console
from rich.table import Table

from mptq_export.evaluate.segmentation.overlap import Overlap
from mptq_export.evaluate.segmentation.report import Intersection, SegmentationEvaluated
from mptq_export.evaluate.show import show_ran_in


def show_segmentation(found: SegmentationEvaluated, console: Console) -> None:
    """Print mean IoU and accuracies, and how alike the file and its float model are."""
    report = found.report
    show_ran_in(found.ran_in, console)
    console.print(f"{report.images} images, {report.classes} classes, logits resized to the images (bilinear)")
    if report.iou is not None:
        _show_iou(report.iou, console)
    if report.same_class is not None:
        console.print(f"pixels of the same class as float {report.same_class:.2%}")


def _show_iou(found: Intersection, console: Console) -> None:
    console.print(
        f"label maps have {found.labelled_classes} of the classes, on {found.labelled_share:.2%} of the pixels"
    )
    table = Table("model", "mean IoU", "pixel accuracy", "class accuracy", box=None, padding=(0, 2))
    table.add_row("quantised", *_shares(found.quantised))
    if found.floating is not None:
        table.add_row("float", *_shares(found.floating))
    console.print(table)
    if found.quantised_interval is not None:
        low, high = found.quantised_interval
        console.print(f"mean IoU of the file: 95% within {low:.2%} to {high:.2%}")
    if found.difference is not None:
        within = ""
        if found.difference_interval is not None:
            low, high = (100 * bound for bound in found.difference_interval)
            within = f" (95%: {low:+.2f} to {high:+.2f})"
        console.print(f"mean IoU less that of float {100 * found.difference:+.2f} points{within}")


def _shares(found: Overlap) -> tuple[str, ...]:
    return tuple(f"{value:.2%}" for value in (found.mean_iou, found.pixel_accuracy, found.class_accuracy))
