"""``mptq-export``: a trained vision transformer in, one exact integer ONNX file out."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import width_domain
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.common import MptqCommand, json_option, write_json
from mptq_export.cli.options import allow_skipped_option, arch_options, class_map_option
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.values import (
    INTERPOLATIONS,
    parse_bits,
    parse_features,
    parse_numbers,
    parse_outputs,
    parse_pins,
    parse_range,
    parse_size,
    parse_width,
)
from mptq_export.cli.verbosity import output
from mptq_export.data.preprocessing import CROP_MODES
from mptq_export.data.reading import Reading
from mptq_export.export.expected import ExportWork
from mptq_export.export.outputs import PROFILES, Outputs, ProfileChoice
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.export.request import OPTIONS, ExportRequest
from mptq_export.load.doors import default_output
from mptq_export.load.inputs import InputOptions
from mptq_export.load.request import ModelRequest
from mptq_export.quantize.method import METHODS
from mptq_export.recipe.metric import MetricName
from mptq_export.recipe.outputs import OutputKind
from mptq_export.recipe.settings import InputType, MethodName, WeightStorage
from mptq_export.support.durations import duration
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import STARTING, undivided
from mptq_export.targets.table import TARGETS, portable_form

#: Whether stages leave a line each, where there is no terminal.
STAGES = True

#: What `--help` puts together.
GROUPS = {
    "Model": ("arch", "model_kwargs", "features", "outputs", "base", "trust"),
    "Input": ("mean", "std", "img_size", "interpolation", "crop_pct", "crop_mode", "in_chans", "input_type"),
    "Calibration": ("images", "count", "exif", "allow_skipped", "any_range", "class_map", "device"),
    "Bits": ("bits", "method", "reconstruct", "residual_bits", "recipe", "pins"),
    "Search": ("budgets", "widths", "tied", "metric", "resume", "search_file", "picks"),
    "Outputs": (
        *("onnx", "force", "target", "min_ort", "weight_storage", "profile", "batch"),
        *("kit", "context", "dossier", "float_onnx", "one_file", "json_path"),
    ),
}


@click.command(
    "mptq-export",
    cls=MptqCommand,
    groups=GROUPS,
    examples=[
        "mptq-export model.pt --calib images/",
        "mptq-export model.pt --arch deit_tiny_patch16_224 --model-kwargs '{\"num_classes\": 10}' --calib images/",
        "mptq-export model.safetensors --calib inputs.npz --input uint8 -o model.onnx",
        "mptq-export timm:vit_small_patch16_224 --calib images/ --bits 4/4",
        "mptq-export model.pt --calib images/ --mixed 4.5 --pin 'head=8/8'",
        "mptq-export model.pt --search model.mptq.search.json --pick 4.2 --pick 11MB",
        "mptq-export swin.pt --features 0,1,2,3 --calib images/",
        "mptq-export mypackage.models:make_model --img-size 224 --mean 0.5 --std 0.5 --calib images/",
        "mptq-export model.pt --recipe model.mptq.recipe.json --input uint8 -o pixels.onnx",
    ],
)
@click.argument("model")
@arch_options()
@click.option(
    "--features",
    is_flag=False,
    flag_value="",
    metavar="[LIST]",
    callback=parse_features,
    help="Feature maps instead of logits: of these blocks (ViT) or stages (Swin), such as 0,1,2,3. Without LIST: the "
    "deepest of every resolution.",
)
@click.option(
    "--outputs",
    metavar="LIST",
    callback=parse_outputs,
    help="Only these of the model's outputs, in this order, such as logits,pred_boxes. NAME=KIND says what an output "
    "of your own module is: logits, embedding, map, tokens, scores, choices, boxes or values.",
)
@click.option(
    "--mean",
    metavar="NUMBERS",
    callback=parse_numbers,
    help="Mean of pixels in 0..1: one for each channel (0.485,0.456,0.406) or one for all. What is said of the input "
    "overrules the checkpoint and the architecture.",
)
@click.option("--std", metavar="NUMBERS", callback=parse_numbers, help="Standard deviation of the same.")
@click.option("--img-size", metavar="N|HxW", callback=parse_size, help="Pixels of the input.")
@click.option("--interpolation", type=click.Choice(INTERPOLATIONS), help="How images are resized.")
@click.option("--crop-pct", type=float, help="Cropped size over resized size, such as 0.9.")
@click.option("--crop-mode", type=click.Choice(CROP_MODES), help="What is cut off.")
@click.option("--in-chans", type=click.IntRange(1), help="Channels of the input; pictures have 1 or 3.")
@click.option(
    "--calib", "images", type=click.Path(path_type=Path), help="Folder of images, or .npz/.npy of preprocessed inputs."
)
@click.option("--count", type=click.IntRange(1), default=128, show_default=True, help="Calibrate on at most N images.")
@click.option("--exif", is_flag=True, help="Turn images as their EXIF orientation says, which timm does not.")
@allow_skipped_option("the images")
@click.option("--any-range", is_flag=True, help="Take an array whose values are no normalised pixels.")
@class_map_option("Names of the classes: a line each in the order of the logits, or JSON.")
@click.option(
    "--bits",
    default="8/8",
    show_default=True,
    metavar="W/A|N",
    callback=parse_bits,
    help="Bits of weights and activations, 2 to 8; 16 for activations where the target has them. 4 is 4/4.",
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="best",
    show_default=True,
    help="minmax: plain rounding; paper: MPTQ-ViT as published (SQ-b and OPT-m); best: all that pays.",
)
@click.option(
    "--reconstruct",
    is_flag=True,
    help="Then learn rounding, scales and ranges of every block by gradient descent: minutes on a GPU.",
)
@click.option(
    "--residual-bits",
    type=click.Choice(["8", "16"]),
    callback=parse_width,
    help="Width of the residual for a --target that has codes there. Default: the best that it takes.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="Replay a .recipe.json of this model instead of calibrating: the same bytes.",
)
@click.option(
    "--mixed",
    "budgets",
    multiple=True,
    metavar="BUDGET",
    help="Search a width for every layer: a mean bit-width (4.5; 5/12 for weights and activations), a file size "
    "(12MB), the latency of one image here (15ms), or multiply-accumulate-bits (20GBOPs; 75% of those at 8/8). Several "
    "give several files. With a --target that has other widths for activations, a mean alone is of the weights.",
)
@click.option(
    "--search",
    "search_file",
    type=click.Path(path_type=Path),
    help="Ask the .search.json of a finished --mixed (or the .search.jsonl of an interrupted one) with --pick: the "
    "widths of another budget, and the bytes of a search for it, without searching. It says how to calibrate.",
)
@click.option(
    "--pick",
    "picks",
    multiple=True,
    metavar="BUDGET",
    help="A budget of any kind that --mixed takes. Several give several files.",
)
@click.option(
    "--mixed-range",
    "widths",
    metavar="LO-HI",
    callback=parse_range,
    help="Widths to try: of a --target those of its own that lie between. Default: 2-8, or all that the target runs.",
)
@click.option("--tied", is_flag=True, help="Weights and activations of a layer move together, as in the paper.")
@click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="PATTERN=W/A",
    callback=parse_pins,
    help="Widths of the layers whose names match; with --mixed they do not move.",
)
@click.option(
    "--metric",
    type=click.Choice(get_args(MetricName)),
    help="What --mixed keeps small: divergence of the classes (kl), 1 - cosine, relative squared error (mse), or "
    "classes and boxes of what a detector sees (detection). Default: kl for logits, cosine for embeddings, detection "
    "for scores and boxes, mse for all else.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted search or --reconstruct.")
@click.option(
    "--input",
    "input_type",
    type=click.Choice(["float32", "uint8"]),
    help="Normalised NCHW floats, or raw NHWC pixels. Default: float32, or the recipe's.",
)
@click.option(
    "--weight-storage",
    type=click.Choice(["packed", "int8"]),
    help="Codes below 8 bits at their own width, or a byte each (larger file, quicker to load). Default: the "
    "recipe's, or the first that the target takes.",
)
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    help="The runtime that the file is for: its form, or a refusal by rule. Default: ort, or the recipe's.",
)
@click.option(
    "--min-ort",
    metavar="VERSION",
    help="The oldest onnxruntime that shall open the file, such as 1.20: weights are stored so that it can.",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    help="sonnx: the same bits in a file that leaves nothing implicit, by the rules of the ONNX working group for a "
    "safety-related profile (a draft); weights a byte each. Default: none, or the recipe's.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Inputs that a file of --profile takes at once.  [default: 1, or the recipe's]",
)
@click.option("-o", "--output", "onnx", type=click.Path(path_type=Path), help="Default: MODEL's name with .mptq.onnx.")
@click.option(
    "--float-onnx", type=click.Path(path_type=Path), help="Also write the float model, checked against torch."
)
@click.option(
    "--one-file",
    is_flag=True,
    help="Of a detector also write OUT.one.onnx: picture in, boxes out, in standard ONNX ops that are float.",
)
@click.option(
    "--kit",
    type=click.Path(path_type=Path),
    help="Also write a folder to check the file on its device: model, golden values, small runners.",
)
@click.option(
    "--dossier",
    type=click.Path(path_type=Path),
    help="Also write a folder with one document (HTML, PDF, JSON) and its evidence, for those who must argue that what "
    "runs is what was trained and checked.",
)
@click.option(
    "--context",
    metavar="SOC",
    help="In the kit of --target qnn: also the file as HTP's compiler prepares it for this SoC, such as SM8650.",
)
@click.option(
    "--device",
    help="torch device for calibration: cpu, cuda (a search takes all GPUs), cuda:1; default: cuda where there is one.",
)
@click.option(
    "--base", metavar="FOLDER", help="The model that MODEL changes, where MODEL is the folder of an adapter of PEFT."
)
@click.option("--trust", is_flag=True, help="Unpickle a whole module, or read a .pt2: this runs code from the file.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def main(
    *,
    model: str,
    arch: str | None,
    model_kwargs: dict[str, Any],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    img_size: tuple[int, int] | None,
    interpolation: str | None,
    crop_pct: float | None,
    crop_mode: str | None,
    in_chans: int | None,
    features: tuple[int, ...] | None,
    outputs: dict[str, OutputKind | None] | None,
    images: Path | None,
    count: int,
    exif: bool,
    allow_skipped: bool,
    any_range: bool,
    class_map: Path | None,
    bits: tuple[int, int],
    method: MethodName,
    reconstruct: bool,
    residual_bits: int | None,
    recipe: Path | None,
    budgets: tuple[str, ...],
    search_file: Path | None,
    picks: tuple[str, ...],
    widths: range | None,
    tied: bool,
    pins: dict[str, tuple[int, int]],
    metric: MetricName | None,
    resume: bool,
    input_type: InputType | None,
    weight_storage: WeightStorage | None,
    target: str | None,
    min_ort: str | None,
    profile: ProfileChoice | None,
    batch: int | None,
    onnx: Path | None,
    float_onnx: Path | None,
    one_file: bool,
    kit: Path | None,
    dossier: Path | None,
    context: str | None,
    device: str | None,
    base: str | None,
    trust: bool,
    force: bool,
    json_path: Path | None,
) -> None:
    """Quantize MODEL and write an exact ONNX file.

    MODEL is a checkpoint or a folder with one, timm:NAME, hf-hub:OWNER/NAME, or package.module:name of a function of
    yours that returns the model: its package is imported from here, as python -m does, and so runs.
    """
    kind: type[Plan] = Replayed if recipe is not None else Uniform
    kind = Searched if budgets else Picked if search_file is not None else kind
    _refuse_misplaced(kind)
    plan: Plan = Uniform(bits, pins, method, reconstruct, resume and kind is Uniform, residual_bits)
    calibration = CalibrationRequest(images, count, Reading(exif, allow_skipped, any_range), class_map, device)
    if budgets:
        domain = width_domain(target, portable_form(target), widths)
        read = tuple(Budget.parse(text, both=domain.alike) for text in budgets)
        search = SearchRequest(read, domain, tied, pins, metric)
        plan = Searched(search, method, reconstruct, resume, residual_bits)
    elif search_file is not None:
        plan = picked = Picked.of(search_file, picks, reconstruct=reconstruct, resume=resume)
        calibration = picked.terms.calibration.request(images, device)
        target, input_type = picked.aimed(target, input_type)
        onnx = onnx or picked.output
    elif recipe is not None:
        plan = Replayed(recipe)
    inputs = InputOptions(mean, std, img_size, interpolation, crop_pct, crop_mode, in_chans)
    files = Outputs(
        onnx=onnx or default_output(model),
        float_onnx=float_onnx,
        one_file=one_file,
        kit=kit,
        dossier=dossier,
        context=context,
        json=json_path,
        input_type=input_type,
        weight_storage=weight_storage,
        target=target,
        min_ort=min_ort,
        profile=profile,
        batch=batch,
        force=force,
    )
    request = ExportRequest(
        model=ModelRequest(model, arch, model_kwargs, trust, inputs, features, *_names_and_kinds(outputs), base),
        plan=plan,
        outputs=files,
        calibration=calibration,
    )
    request.check()
    # Here torch is imported: what can be refused without it was refused.
    with _telling_how_to_resume(request, Terminal(lines=STAGES)) as terminal:
        terminal.expect(ExportWork.guess(request).stages())
        with undivided(terminal, STARTING):
            from mptq_export.export.run import export_checked
            from mptq_export.export.summary import show_end, show_summary, summary_of

        results = export_checked(request, terminal)
    console = output(soft_wrap=True)
    for result in results:
        terminal.warn(sentence for each in (result, *result.heads) for sentence in each.warnings)
        show_summary(result, console)
    show_end(results, terminal.time, console)
    summaries = [summary_of(result) for result in results]
    write_json(json_path, summaries[0] if len(summaries) == 1 else {"exports": summaries})


@contextmanager
def _telling_how_to_resume(request: ExportRequest, terminal: Terminal) -> Iterator[Terminal]:
    """Show the command; where it is interrupted, say what is kept and how it goes on.

    Raises:
        click.Abort: it was interrupted.
    """
    try:
        with terminal:
            yield terminal
    except KeyboardInterrupt:
        where = f"after {duration(terminal.time.elapsed)}, in: {terminal.time.label}"
        kept = [path for path in request.outputs.journals(request.plan) if path.exists()]
        if not kept:
            raise click.Abort(f"{where}; nothing is kept, start again") from None
        given = sys.argv[1:]
        again = shlex.join(["mptq-export", *given, *([] if "--resume" in given else ["--resume"])])
        raise click.Abort(f"{where}; what was done is kept in {kept[0]}, go on with: {again}") from None


def _names_and_kinds(
    said: dict[str, OutputKind | None] | None,
) -> tuple[tuple[str, ...] | None, dict[str, OutputKind] | None]:
    """The outputs that are wanted, and the kinds of those of which one is said."""
    if said is None:
        return None, None
    return tuple(said), {name: kind for name, kind in said.items() if kind is not None} or None


def _refuse_misplaced(plan: type[Plan]) -> None:
    """Refuse options that belong to other plans.

    Raises:
        MptqError: one was given on the command line.
    """
    context = click.get_current_context()
    elsewhere = frozenset().union(*OPTIONS.values()) - OPTIONS[plan]
    for parameter in context.command.params:
        name, option = str(parameter.name), parameter.opts[0]
        if name not in elsewhere or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if plan is Picked:
            raise MptqError(
                f"--search {context.params['search_file']} and {option} exclude each other: the search was made with "
                "what it says, and all of that decides its widths; leave one out, or search again with --mixed"
            )
        if name == "picks":
            raise MptqError("--pick asks a search that is stored: name its .search.json with --search, not --mixed")
        if plan is Searched:
            raise MptqError(f"--mixed and {option} exclude each other: the search decides the widths; leave one out")
        if name not in OPTIONS[Uniform]:
            raise MptqError(f"{option} belongs to --mixed BUDGET, which is missing")
        raise MptqError(
            f"--recipe {context.params['recipe']} and {option} exclude each other: a recipe holds the finished codes, "
            f"nothing is calibrated or chosen again; leave {option} out, or leave --recipe out to quantize anew"
        )


if __name__ == "__main__":
    main()
