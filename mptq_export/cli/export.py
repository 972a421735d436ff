"""``mptq-export``: a trained vision transformer in, one exact integer ONNX file out."""

import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mptq_export.cli.common import MptqCommand, json_option, parse_json_object, progress, warn, write_json
from mptq_export.errors import MptqError
from mptq_export.quantize.method import METHODS

#: What a recipe has decided already: parameter and its option.
_DECIDED = {
    "calib": "--calib",
    "count": "--count",
    "bits": "--bits",
    "method": "--method",
    "reconstruct": "--reconstruct",
    "device": "--device",
}


def parse_bits(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    """Click callback of `--bits`."""
    return bits_from(text)


def bits_from(text: str) -> tuple[int, int]:
    """Two widths from `W/A`.

    Raises:
        MptqError: it is something else, or a width is not from 2 to 8.
    """
    match = re.fullmatch(r"([2-8])/([2-8])", text.strip())
    if match is None:
        raise MptqError(f"--bits {text} is not W/A with both widths from 2 to 8, for example --bits 8/8")
    return int(match[1]), int(match[2])


@click.command(
    cls=MptqCommand,
    examples=[
        "mptq-export model.pt --calib images/",
        "mptq-export model.pt --arch deit_tiny_patch16_224 --model-kwargs '{\"num_classes\": 10}' --calib images/",
        "mptq-export model.safetensors --calib inputs.npz --input uint8 -o model.onnx",
        "mptq-export timm:vit_small_patch16_224 --calib images/ --bits 4/4",
        "mptq-export model.pt --recipe model.mptq.recipe.json --input uint8 -o pixels.onnx",
    ],
)
@click.argument("model")
@click.option("--arch", help="timm architecture, where the checkpoint does not name it.")
@click.option("--model-kwargs", metavar="JSON", callback=parse_json_object, help="Arguments for timm.create_model.")
@click.option("--calib", type=click.Path(path_type=Path), help="Folder of images, or .npz/.npy of preprocessed inputs.")
@click.option("--count", type=click.IntRange(1), default=128, show_default=True, help="Calibrate on at most N images.")
@click.option(
    "--bits", default="8/8", show_default=True, metavar="W/A", callback=parse_bits, help="Bit-widths, 2 to 8."
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="best",
    show_default=True,
    help="paper: MPTQ-ViT as published (SQ-b and OPT-m); best: all that pays.",
)
@click.option(
    "--reconstruct",
    is_flag=True,
    help="Then learn the weight codes of every block by gradient descent: minutes on a GPU, an hour on a CPU.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="Replay a .recipe.json of this model instead of calibrating: the same bytes.",
)
@click.option(
    "--input",
    "input_type",
    type=click.Choice(["float32", "uint8"]),
    help="Normalised NCHW floats, or raw NHWC pixels. Default: float32, or the recipe's.",
)
@click.option(
    "--weight-storage",
    type=click.Choice(["packed", "int8"]),
    help="Codes below 8 bits at their own width, or a byte each (larger file, quicker to load). Default: packed, or "
    "the recipe's.",
)
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), help="Default: MODEL's name with .mptq.onnx.")
@click.option(
    "--float-onnx", type=click.Path(path_type=Path), help="Also write the float model, checked against torch."
)
@click.option("--device", help="torch device for calibration; default: a GPU where there is one.")
@click.option("--trust", is_flag=True, help="Unpickle a whole module: this runs code from the file.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def main(
    *,
    model: str,
    arch: str | None,
    model_kwargs: dict[str, Any],
    calib: Path | None,
    count: int,
    bits: tuple[int, int],
    method: str,
    reconstruct: bool,
    recipe: Path | None,
    input_type: str | None,
    weight_storage: str | None,
    out: Path | None,
    float_onnx: Path | None,
    device: str | None,
    trust: bool,
    force: bool,
    json_path: Path | None,
) -> None:
    """Quantize MODEL (a .pt, .pth or .safetensors checkpoint, or timm:NAME) and write an exact ONNX file."""
    _check_recipe_alone(recipe)
    from mptq_export.pipeline import ExportRequest, export_model

    request = ExportRequest(
        model=model,
        out=out or _default_output(model),
        arch=arch,
        model_kwargs=model_kwargs,
        trust=trust,
        recipe=recipe,
        calib=calib,
        count=count,
        bits=bits,
        method=method,
        reconstruct=reconstruct,
        input_type=input_type,
        weight_storage=weight_storage,
        float_onnx=float_onnx,
        device=device,
        force=force,
        report=json_path,
    )
    result = export_model(request, progress)
    from mptq_export.summary import show_summary, summary_json

    for note in result.warnings:
        warn(note)
    show_summary(result)
    write_json(json_path, summary_json(result))


def _check_recipe_alone(recipe: Path | None) -> None:
    """Refuse options that a recipe answers already.

    Raises:
        MptqError: one was given on the command line.
    """
    source = click.get_current_context().get_parameter_source
    given = [option for name, option in _DECIDED.items() if source(name) is ParameterSource.COMMANDLINE]
    if recipe is not None and given:
        raise MptqError(
            f"--recipe {recipe} and {given[0]} exclude each other: a recipe holds the finished codes, nothing is "
            f"calibrated or chosen again; leave {given[0]} out, or leave --recipe out to quantize anew"
        )


def _default_output(model: str) -> Path:
    if model.startswith("timm:"):
        return Path(model.removeprefix("timm:").replace("/", "_") + ".mptq.onnx")
    return Path(model).with_suffix(".mptq.onnx")
