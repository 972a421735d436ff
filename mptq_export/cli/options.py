"""Options that several commands have, with one spelling and one help."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from mptq_export.cli.common import parse_json_object
from mptq_export.runtime.edge.options import EdgeOptions, Precision
from mptq_export.runtime.edge.session import RuntimeName

Function = TypeVar("Function", bound=Callable[..., Any])


def arch_options(of: str = "") -> Callable[[Function], Function]:
    """``--arch`` and ``--model-kwargs`` of a checkpoint."""
    arch = click.option("--arch", help=f"timm architecture{of}, where the checkpoint does not name it.")
    kwargs = "--model-kwargs"
    rest = click.option(kwargs, metavar="JSON", callback=parse_json_object, help="Arguments for timm.create_model.")
    return lambda function: arch(rest(function))


def float_options(function: Function) -> Function:
    """``--float`` and what describes it, for `ModelRequest`."""
    options = (
        click.option("--float", "checkpoint", metavar="CHECKPOINT", help="The float model to compare with."),
        arch_options(of=" of --float"),
        click.option(
            "--base", metavar="FOLDER", help="The model that --float changes, where that is an adapter of PEFT."
        ),
        click.option(
            "--trust", is_flag=True, help="Unpickle a whole module, or read a .pt2: this runs code from --float."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def runtime_options(function: Function) -> Function:
    """``--runtime`` and how it is opened, for `EdgeOptions`."""
    names = click.Choice(get_args(RuntimeName))
    options = (
        click.option("--runtime", type=names, help="Run MODEL there, instead of in onnxruntime on this CPU."),
        click.option(
            "--backend",
            type=click.Path(path_type=Path),
            help="Library that computes, of --runtime qnn.  [default: HTP's, of the package]",
        ),
        click.option(
            "--soc", metavar="NAME", help="SoC that the simulator of qnn or rknn stands for, such as SM8650 or rk3588."
        ),
        click.option(
            "--runtime-python",
            type=click.Path(path_type=Path),
            help="Python that has --runtime rknn.  [default: $MPTQ_RKNN_PYTHON]",
        ),
        click.option(
            "--precision",
            type=click.Choice(get_args(Precision)),
            help="Floats of --runtime openvino.  [default: bf16 where the CPU has it]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_float(checkpoint: str | None, described: bool) -> None:
    """Refuse a description of a float model that is not there.

    Raises:
        click.UsageError: it is missing.
    """
    if checkpoint is None and described:
        raise click.UsageError("--arch, --model-kwargs, --base and --trust describe --float, which is missing.")


def check_runtime_options(runtime: str | None, options: EdgeOptions) -> None:
    """Refuse a way to open a runtime that is not asked for.

    Raises:
        click.UsageError: there is none.
    """
    if runtime is None and options.given:
        raise click.UsageError("--backend, --soc, --runtime-python and --precision go with --runtime.")


def class_map_option(help_text: str) -> Callable[[Function], Function]:
    """``--class-map``: a file that names the logits."""
    return click.option("--class-map", type=click.Path(path_type=Path), help=help_text)


def allow_skipped_option(images: str) -> Callable[[Function], Function]:
    """``--allow-skipped``: unreadable images do not end the command."""
    return click.option(
        "--allow-skipped", is_flag=True, help=f"Go on where more than a tenth of {images} cannot be read."
    )
