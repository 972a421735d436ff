"""``mptq-verify``: does onnxruntime compute exactly what the file says, and in integers?"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mptq_export.cli.common import EXIT_FAILED, MptqCommand, json_option, progress, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COUNT = 16


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
@click.option("--images", type=click.Path(path_type=Path), help="Folder of images to run; the default is --random.")
@click.option("--limit", type=click.IntRange(1), help="At most N images of --images.  [default: 16]")
@click.option("--random", "random_count", type=click.IntRange(1), help="Run N seeded random inputs.  [default: 16]")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="Also prove that MODEL came from this .recipe.json.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads of onnxruntime; the default is its own choice.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Inputs a batch.")
@json_option
def main(
    *,
    model: Path,
    images: Path | None,
    limit: int | None,
    random_count: int | None,
    recipe: Path | None,
    threads: int | None,
    batch: int,
    json_path: Path | None,
) -> int:
    """Compare onnxruntime with kernels_ref on every tensor of MODEL and list the kernels that ran.

    Exit status: 0 when no value differs, every matmul runs in integers and MODEL is as it was written; 1 when not;
    2 when MODEL, the recipe or the images cannot be used. A MODEL that is not --recipe's is not run.
    """
    if images and random_count:
        raise click.UsageError("--images and --random exclude each other.")
    if limit and not images:
        raise click.UsageError("--limit goes with --images; --random takes a count itself.")
    from rich.console import Console

    from mptq_export.verify.compare import verify_model
    from mptq_export.verify.inputs import random_inputs
    from mptq_export.verify.origin import check_recipe
    from mptq_export.verify.session import declared_input, load_onnx, metadata_of
    from mptq_export.verify.show import show_origin, show_report

    console = Console(highlight=False)
    document = load_onnx(model)
    origin = check_recipe(document, recipe) if recipe else None
    if origin and origin.problems:
        write_json(json_path, {"model": str(model), "passed": False, "origin": origin.to_json()})
        show_origin(origin, console)
        return EXIT_FAILED
    inputs: Iterable[NDArray[Any]]
    spec = declared_input(document)
    size = spec.batch(batch)
    if images:
        from mptq_export.data.images import ImageFolder
        from mptq_export.data.preprocessing import Preprocessing
        from mptq_export.evaluate.pixels import to_graph_input

        preprocessing = Preprocessing.from_metadata(metadata_of(document))
        folder = ImageFolder(images, preprocessing, limit=limit or _COUNT, labels=False)
        count = len(folder)
        inputs = (to_graph_input(pixels, spec, preprocessing.normalize) for pixels in folder.batches(size))
    else:
        count = random_count or _COUNT
        inputs = random_inputs(spec, count, size)
    report = verify_model(model, progress(inputs, "verifying", -(-count // size)), threads=threads or 0)
    report = replace(report, origin=origin or report.origin)
    write_json(json_path, report.to_json())
    show_report(report, console)
    return 0 if report.passed else EXIT_FAILED
