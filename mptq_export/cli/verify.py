"""``mptq-verify``: does onnxruntime compute exactly what the file says, and in integers?"""

from pathlib import Path

import click

from mptq_export.cli.common import EXIT_FAILED, EXIT_UNPROVED, MptqCommand, json_option, write_json
from mptq_export.cli.options import allow_skipped_option
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import output


@click.command(
    "mptq-verify",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-verify model.mptq.onnx",
        "mptq-verify model.mptq.onnx --recipe model.mptq.recipe.json",
        "mptq-verify model.mptq.onnx --images photos/ --limit 32",
        "mptq-verify model.mptq.onnx --random 4 --threads 2 --json report.json",
    ],
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of images to run.  [default: made-up inputs]")
@allow_skipped_option("--images")
@click.option("--limit", type=click.IntRange(1), help="At most N images of --images.  [default: 16]")
@click.option(
    "--random",
    "random_count",
    type=click.IntRange(1),
    help="Run N seeded random inputs alone.  [default: 4, and constant and extreme ones]",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="Also prove that MODEL came from this .recipe.json.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads of onnxruntime; the default is its own choice.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Inputs a batch.  [default: 1 and 3, where the file leaves it free]",
)
@json_option
def main(
    *,
    model: Path,
    images: Path | None,
    allow_skipped: bool,
    limit: int | None,
    random_count: int | None,
    recipe: Path | None,
    threads: int | None,
    batch: int | None,
    json_path: Path | None,
) -> int:
    """Compare onnxruntime with kernels_ref on every tensor of MODEL and list the kernels that ran.

    The verdict is "exact" when every tensor is equal and that is no chance of these inputs: onnxruntime ran the kernels
    that kernels_ref computed, and each of these claims equal bits. It is "equal on these inputs" when something stands
    against that (each is named), and "different" when a value differs.

    Exit status: 0 exact; 3 equal on these inputs, or a matmul in float; 1 different, a result depends on the batch, or
    MODEL is not as it was written; 2 when MODEL, the recipe or the images cannot be used. A MODEL that is not
    --recipe's is not run.
    """
    if images and random_count:
        raise click.UsageError("--images and --random exclude each other.")
    if limit and not images:
        raise click.UsageError("--limit goes with --images; --random takes a count itself.")
    if allow_skipped and not images:
        raise click.UsageError("--allow-skipped goes with --images.")
    from mptq_export.verify.run import verify
    from mptq_export.verify.show import show_report

    count, terminal = limit or random_count, Terminal()
    report = verify(
        model,
        images,
        count=count,
        recipe=recipe,
        threads=threads or 0,
        batch=batch,
        allow_skipped=allow_skipped,
        progress=terminal,
    )
    write_json(json_path, report.to_json())
    show_report(report, output())
    terminal.warn(report.warnings)
    if report.passed:
        return 0
    as_written = not (report.origin and report.origin.problems)
    return EXIT_UNPROVED if report.equal and not report.mixing and as_written else EXIT_FAILED
