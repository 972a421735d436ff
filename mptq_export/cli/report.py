"""``mptq-report``: the page of an export built again from its files, its layers as CSV, or two exports side by side."""

from pathlib import Path

import click

from mptq_export.cli.common import MptqCommand
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import is_quiet

_MOST = 2


@click.command(
    "mptq-report",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-report model.mptq.onnx --force",
        "mptq-report model.mptq.recipe.json -o report.html",
        "mptq-report model.mptq.onnx --csv layers.csv",
        "mptq-report a.onnx b.onnx",
        "mptq-report --dossier dossier/ model.mptq.onnx",
    ],
)
@click.argument("exports", metavar="EXPORT [EXPORT]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    help="Default: NAME.report.html beside the ONNX file; A-vs-B.report.html for two.",
)
@click.option(
    "--dossier",
    type=click.Path(path_type=Path),
    help="Instead of the page write this folder: one document (HTML, PDF, JSON) with its evidence, for those who must "
    "argue that what runs is what was trained and checked.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Golden values of --dossier are for images of this folder, not for synthetic ones.",
)
@click.option(
    "--csv",
    "csv_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the layers with their widths, sizes and errors to FILE, and no page.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def main(
    *,
    exports: tuple[Path, ...],
    out: Path | None,
    dossier: Path | None,
    images: Path | None,
    csv_path: Path | None,
    force: bool,
) -> None:
    """Build the report of an EXPORT (its .onnx file or its .recipe.json) again, or compare two.

    What lies beside it is used: the recipe, NAME.report.json (what the export measured), NAME.search.json (the search
    of widths), NAME.eval.json (written by `mptq-eval --json`) and NAME.RUNTIME.json, such as NAME.qnn.json (written by
    `mptq-verify --runtime RUNTIME --json`). The page says what is missing.
    """
    if len(exports) > _MOST:
        raise click.UsageError("One export, or two to compare.")
    if dossier is not None:
        if out is not None or csv_path is not None or len(exports) > 1:
            raise click.UsageError("--dossier DIR is of one EXPORT, and goes without -o and --csv.")
        _write_dossier(exports[0], dossier, images, force=force)
        return
    if images is not None:
        raise click.UsageError("--images goes with --dossier DIR.")
    if csv_path is not None and (len(exports) > 1 or out is not None):
        raise click.UsageError("--csv is of one export, and takes the place of the page: leave -o out.")
    from mptq_export.report.paths import comparison_path, onnx_path_of, report_path
    from mptq_export.report.write import write_comparison, write_csv, write_report
    from mptq_export.support.files import check_writable

    files = [onnx_path_of(path) for path in exports]
    out = csv_path or out or (report_path(files[0]) if len(files) == 1 else comparison_path(*files))
    check_writable(out, force=force)
    if csv_path is not None:
        write_csv(exports[0], out)
    elif len(files) == 1:
        write_report(exports[0], out)
    else:
        write_comparison(exports[0], exports[1], out)
    if not is_quiet():
        click.echo(out)


def _write_dossier(export: Path, out: Path, images: Path | None, *, force: bool) -> None:
    from mptq_export.dossier.write import write_dossier

    terminal = Terminal()
    terminal.warn(write_dossier(export, out, images, force=force))
    if not is_quiet():
        click.echo(out)


if __name__ == "__main__":
    main()
