"""``mptq-eval``: how accurate is the exported file, alone and beside its float model?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from mptq_export.cli.common import MptqCommand, json_option, write_json
from mptq_export.cli.options import (
    allow_skipped_option,
    check_float,
    check_runtime_options,
    class_map_option,
    float_options,
    runtime_options,
)
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import output
from mptq_export.data.class_map import read_class_map
from mptq_export.runtime.edge.options import EdgeOptions, Precision
from mptq_export.runtime.edge.session import RuntimeName
from mptq_export.support.progress import STARTING, undivided

if TYPE_CHECKING:
    from mptq_export.evaluate.beside import FloatModel

Task = Literal["detection", "segmentation"]
TASKS = get_args(Task)
_IGNORE = 255


@click.command(
    "mptq-eval",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-eval model.mptq.onnx --data val/",
        "mptq-eval model.mptq.onnx --data val/ --class-map classes.txt",
        "mptq-eval model.mptq.onnx --data val/ --float model.pt",
        "mptq-eval model.qnn.onnx --data val/ --float model.pt --runtime qnn --resume htp.jsonl",
        "mptq-eval model.mptq.onnx --data val/ --float model.pt --arch deit_tiny_patch16_224 --limit 1000",
        "mptq-eval detector.mptq.onnx --task detection --data coco/val2017/ --float package.module:detector",
        "mptq-eval segmenter.mptq.onnx --task segmentation --data val/ --annotations labels/ --float folder/",
    ],
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of images; its subfolders are the classes, by name or in timm's order. A flat one has none: the "
    "file is compared with --float alone.",
)
@click.option(
    "--task",
    type=click.Choice(TASKS),
    help="Judge MODEL as a detector, by COCO's average precision (DATA is in COCO's format), or as a segmentation, by "
    "mean IoU (DATA has label maps).",
)
@click.option(
    "--annotations",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Of --task detection the file in COCO's format, of segmentation the folder of label maps, where it is not "
    "found with DATA.",
)
@click.option(
    "--ignore",
    metavar="N",
    type=int,
    default=_IGNORE,
    show_default=True,
    help="Value of label maps that stands for no class.",
)
@click.option(
    "--first-label",
    metavar="N",
    type=int,
    default=0,
    show_default=True,
    help="Value of label maps that stands for the first class; lower ones stand for none.",
)
@class_map_option(
    "Logits of the class folders: a name a line in the order of the logits, or JSON. Default: the file's names."
)
@click.option(
    "--exif/--no-exif", default=None, help="Turn images as their EXIF orientation says. Default: as the file says."
)
@allow_skipped_option("the images")
@float_options
@click.option("--limit", type=click.IntRange(1), help="Evaluate at most N images.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Images a batch.")
@runtime_options
@click.option(
    "--resume",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep what --runtime gives for each image, or what --task detection finds there, in FILE, and read from it "
    "what it holds already.",
)
@json_option
def main(
    *,
    model: Path,
    data: Path,
    task: Task | None,
    annotations: Path | None,
    ignore: int,
    first_label: int,
    class_map: Path | None,
    exif: bool | None,
    allow_skipped: bool,
    checkpoint: str | None,
    arch: str | None,
    model_kwargs: dict[str, Any],
    base: str | None,
    trust: bool,
    limit: int | None,
    batch: int,
    runtime: RuntimeName | None,
    backend: Path | None,
    soc: str | None,
    runtime_python: Path | None,
    precision: Precision | None,
    resume: Path | None,
    json_path: Path | None,
) -> None:
    """Measure MODEL on a folder of images, alone and beside its float model.

    Logits: top-1, top-5, agreement, KL divergence and cosine. Embeddings: cosine, nearest neighbours kept, and k-NN
    accuracy where the folder has classes. All else: cosine and signal to noise ratio. With --runtime MODEL runs
    there, an image at a time. With --task detection: box and mask AP of COCO, and detections found again; with --task
    segmentation: mean IoU and pixel accuracy. MODEL and its float model go through the same steps.
    """
    _check_task(task, annotations, ignore, first_label)
    check_float(checkpoint, bool(arch or model_kwargs or base or trust))
    options = EdgeOptions(backend=backend, soc=soc, python=runtime_python, precision=precision)
    check_runtime_options(runtime, options)
    if resume is not None and runtime is None and task != "detection":
        raise click.UsageError("--resume goes with --runtime or --task detection: all else is quick.")
    if class_map is not None:
        read_class_map(class_map)
    terminal = Terminal()
    with terminal, undivided(terminal, STARTING):
        from mptq_export.evaluate.detection.run import evaluate_detector
        from mptq_export.evaluate.detection.show import show_detection
        from mptq_export.evaluate.request import EvalRequest
        from mptq_export.evaluate.run import evaluate_file
        from mptq_export.evaluate.segmentation.run import evaluate_segmentation
        from mptq_export.evaluate.segmentation.show import show_segmentation
        from mptq_export.evaluate.show import show_report
        from mptq_export.load.request import ModelRequest
        from mptq_export.verify.onnx_file import load_onnx, metadata_of

    def load_float(asked: ModelRequest) -> "FloatModel":
        from mptq_export.evaluate.float_model import load_float  # torch

        return load_float(asked)

    floating = None if checkpoint is None else ModelRequest(checkpoint, arch, model_kwargs, trust, base=base)
    asked = EvalRequest(
        model,
        data,
        floating,
        class_map,
        exif,
        allow_skipped,
        limit,
        batch,
        runtime=runtime,
        options=options,
        resume=resume,
        annotations=annotations,
        ignore=ignore,
        first_label=first_label,
    )
    metadata = metadata_of(load_onnx(model))
    if task == "detection":
        with terminal:
            detected = evaluate_detector(asked, metadata, load_float, terminal)
        write_json(json_path, detected.to_json())
        show_detection(detected, output())
        terminal.warn(detected.warnings)
    elif task == "segmentation":
        with terminal:
            segmented = evaluate_segmentation(asked, metadata, load_float, terminal)
        write_json(json_path, segmented.to_json())
        show_segmentation(segmented, output())
        terminal.warn(segmented.warnings)
    else:
        with terminal:
            found = evaluate_file(asked, metadata, load_float, terminal)
        write_json(json_path, found.to_json())
        show_report(found.report, output(), found.labels, found.ran_in)
        terminal.warn(found.warnings)


def _check_task(task: Task | None, annotations: Path | None, ignore: int, first_label: int) -> None:
    """Refuse options of a task that was not asked for.

    Raises:
        click.UsageError: there is one.
    """
    if annotations is not None and task is None:
        raise click.UsageError("--annotations goes with --task detection or segmentation.")
    if (ignore, first_label) != (_IGNORE, 0) and task != "segmentation":
        raise click.UsageError("--ignore and --first-label go with --task segmentation.")


if __name__ == "__main__":
    main()
