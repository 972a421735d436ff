"""``mptq-eval``: how accurate is the exported file, alone and beside its float model?"""

from pathlib import Path
from typing import Any

import click

from mptq_export.cli.common import MptqCommand, json_option, write_json
from mptq_export.cli.options import allow_skipped_option, arch_options, class_map_option
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import output
from mptq_export.data.class_map import read_class_map
from mptq_export.support.progress import tracked


@click.command(
    "mptq-eval",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-eval model.mptq.onnx --data val/",
        "mptq-eval model.mptq.onnx --data val/ --class-map classes.txt",
        "mptq-eval model.mptq.onnx --data val/ --float model.pt",
        "mptq-eval model.mptq.onnx --data val/ --float model.pt --arch deit_tiny_patch16_224 --limit 1000",
    ],
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of images; its subfolders are the classes, by name or in timm's order.",
)
@class_map_option(
    "Logits of the class folders: a name a line in the order of the logits, or JSON. Default: the file's names."
)
@click.option(
    "--exif/--no-exif", default=None, help="Turn images as their EXIF orientation says. Default: as the file says."
)
@allow_skipped_option("the images")
@click.option("--float", "checkpoint", metavar="CHECKPOINT", help="The float model to compare with.")
@arch_options(of=" of --float")
@click.option("--limit", type=click.IntRange(1), help="Evaluate at most N images.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Images a batch.")
@json_option
def main(
    *,
    model: Path,
    data: Path,
    class_map: Path | None,
    exif: bool | None,
    allow_skipped: bool,
    checkpoint: str | None,
    arch: str | None,
    model_kwargs: dict[str, Any],
    limit: int | None,
    batch: int,
    json_path: Path | None,
) -> None:
    """Measure top-1 and top-5 of MODEL on a folder of images, and how close it is to its float model.

    Outputs that are no classes are compared with those of --float.
    """
    if checkpoint is None and (arch or model_kwargs):
        raise click.UsageError("--arch and --model-kwargs describe the --float checkpoint, which is missing.")
    if class_map is not None:
        read_class_map(class_map)
    from mptq_export.data.images import ImageFolder
    from mptq_export.data.preprocessing import Preprocessing
    from mptq_export.evaluate.data import (
        Given,
        about_data,
        about_float,
        check_numbered,
        logits_of,
        names_for,
        turns_for,
    )
    from mptq_export.evaluate.maps import compare_maps, onnx_maps
    from mptq_export.evaluate.run import evaluate, onnx_predictor
    from mptq_export.evaluate.show import show_maps, show_report
    from mptq_export.load.features import features_of
    from mptq_export.load.inputs import inputs_of
    from mptq_export.load.request import ModelRequest
    from mptq_export.runtime.graph_input import graph_input
    from mptq_export.runtime.session import open_session
    from mptq_export.support.hashes import sha256_of
    from mptq_export.verify.onnx_file import load_onnx, metadata_of

    metadata, session = metadata_of(load_onnx(model)), open_session(model)
    preprocessing, given = Preprocessing.from_metadata(metadata), Given.by(metadata, session)
    given.check(model, beside_float=checkpoint is not None)
    size = graph_input(session).batch(batch)
    logits = logits_of(session, given.logits)
    names, notes = names_for(model, metadata, class_map, logits, classifies=given.place is not None)
    turns, more = turns_for(metadata, exif)
    notes = (*notes, *more)
    folder = ImageFolder(
        data,
        preprocessing,
        limit=limit,
        labels=given.place is not None,
        names=names,
        logits=logits,
        exif=turns,
        allow_skipped=allow_skipped,
    )
    terminal, floating, described = Terminal(), None, {"model": str(model), "sha256": sha256_of(model)}
    batches = tracked(folder.batches(size), terminal, "evaluating", -(-len(folder) // size))
    if checkpoint is not None:
        from mptq_export.evaluate.float_model import float_maps, float_predictor  # torch
        from mptq_export.load.loaders import load_asked

        # It gets the input that the file was made for, whatever options that took.
        inputs, maps = inputs_of(preprocessing), tuple(each.index for each in features_of(metadata)) or None
        asked = ModelRequest(checkpoint, arch, model_kwargs, inputs=inputs, features=maps, outputs=given.chosen)
        loaded = load_asked(asked)
        notes = (*notes, *about_float(loaded.warnings))
        if given.place is None:
            exact = float_maps(loaded.model, loaded.preprocessing.normalize)
            found = onnx_maps(session, given.outputs, preprocessing.normalize)
            compared = compare_maps(batches, given.outputs, found, exact)
            write_json(json_path, {**described, **compared.to_json(), **about_data(folder, notes)})
            show_maps(compared, output())
            terminal.warn((*folder.warnings, *notes))
            return
        floating = float_predictor(loaded.model, loaded.preprocessing.normalize, given.place)
    report = evaluate(batches, folder.labels, onnx_predictor(session, preprocessing.normalize, given.logits), floating)
    check_numbered(folder, names, report.classes)
    notes = (*notes, *report.warnings)
    write_json(json_path, {**described, **report.to_json(), **about_data(folder, notes)})
    show_report(report, output(), folder.numbering.text if folder.numbering else None)
    terminal.warn((*folder.warnings, *notes))
