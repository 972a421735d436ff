"""Build the page of an export from its files and write OUT.report.html, or its layers as CSV."""

from pathlib import Path

from mptq_export.report.compare import compare_page
from mptq_export.report.export_files import read_export
from mptq_export.report.layer_table import layers_csv
from mptq_export.report.page import report_page
from mptq_export.report.paths import report_path
from mptq_export.support.files import write_text


def write_report(named: Path, out: Path | None = None) -> Path:
    """Write the report of one export.

    Args:
        named: its ONNX file or its recipe.
        out: the page; beside the ONNX file by default.

    Returns:
        The page's path.

    Raises:
        MptqError: the export cannot be read, or the page cannot be written.
    """
    export = read_export(named)
    out = out or report_path(export.onnx)
    write_text(out, report_page(export))
    return out


def write_csv(named: Path, out: Path) -> None:
    """Write the list of an export's layers.

    Args:
        named: its ONNX file or its recipe.
        out: the CSV file.

    Raises:
        MptqError: the export cannot be read, or the list cannot be written.
    """
    write_text(out, layers_csv(read_export(named)))


def write_comparison(first: Path, second: Path, out: Path) -> None:
    """Write two exports side by side.

    Args:
        first: an ONNX file or a recipe.
        second: another one.
        out: the page.

    Raises:
        MptqError: an export cannot be read, or the page cannot be written.
    """
    write_text(out, compare_page((read_export(first), read_export(second))))
