"""``mptq-verify``: does onnxruntime compute exactly what the file says, and in integers?"""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from mptq_export.cli.common import EXIT_FAILED, EXIT_UNPROVED, MptqCommand, json_option, write_json
from mptq_export.cli.options import (
    allow_skipped_option,
    check_float,
    check_runtime_options,
    float_options,
    runtime_options,
)
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import is_verbose, output
from mptq_export.recipe.settings import ProfileName
from mptq_export.runtime.edge.options import EdgeOptions, Precision
from mptq_export.runtime.edge.session import RuntimeName
from mptq_export.support.progress import STARTING, undivided


@click.command(
    "mptq-verify",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-verify model.mptq.onnx",
        "mptq-verify model.mptq.onnx --recipe model.mptq.recipe.json",
        "mptq-verify model.mptq.onnx --images photos/ --limit 32",
        "mptq-verify model.mptq.onnx --random 4 --threads 2 --json report.json",
        "mptq-verify model.sonnx.onnx --profile sonnx",
        "mptq-verify model.qnn.onnx --runtime qnn --images photos/ --float model.float.onnx",
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
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of onnxruntime, or of --runtime openvino; the default is its own choice.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Inputs a batch.  [default: 1 and 3, where the file leaves it free]",
)
@click.option(
    "--profile",
    type=click.Choice(get_args(ProfileName)),
    help="Hold MODEL against the rules of this profile instead: it is read alone, nothing is run. -v names every node.",
)
@runtime_options
@float_options
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
    profile: ProfileName | None,
    runtime: RuntimeName | None,
    backend: Path | None,
    soc: str | None,
    runtime_python: Path | None,
    precision: Precision | None,
    checkpoint: str | None,
    arch: str | None,
    model_kwargs: dict[str, Any],
    base: str | None,
    trust: bool,
    json_path: Path | None,
) -> int:
    """Compare onnxruntime with kernels_ref on every tensor of MODEL and list the kernels that ran.

    The verdict is "exact" when every tensor is equal and that is no chance of these inputs: onnxruntime ran the kernels
    that kernels_ref computed, and each of these claims equal bits. It is "equal on these inputs" when something stands
    against that (each is named), and "different" when a value differs.

    With --runtime MODEL is run there, an input at a time: whether anything of it is left to the CPU or computes in
    floats, and how far its outputs are from what MODEL says, and from those of --float (a checkpoint or an ONNX file).

    Exit status: 0 exact; 3 equal on these inputs, or a matmul in float; 1 different, a result depends on the batch, or
    MODEL is not as it was written; 2 when MODEL, the recipe or the images cannot be used. A MODEL that is not
    --recipe's is not run. With --runtime: 0 whole and right; 3 right, with a matmul in float; 1 wrong, not whole, or
    refused, or not as it was written. With --profile: 0 every rule holds but for the exceptions that are listed; 1 one
    is broken.
    """
    if profile is not None:
        _refuse_beside_profile()
        return _of_profile(model, json_path)
    if images and random_count:
        raise click.UsageError("--images and --random exclude each other.")
    if limit and not images:
        raise click.UsageError("--limit goes with --images; --random takes a count itself.")
    if allow_skipped and not images:
        raise click.UsageError("--allow-skipped goes with --images.")
    options = EdgeOptions(backend=backend, soc=soc, python=runtime_python, precision=precision)
    check_runtime_options(runtime, options)
    check_float(checkpoint, bool(arch or model_kwargs or base or trust))
    count, terminal = limit or random_count, Terminal()
    if runtime is not None:
        if batch:
            raise click.UsageError("--batch does not go with --runtime, which runs an input at a time.")
        from mptq_export.load.request import ModelRequest

        floating: ModelRequest | Path | None = None
        if checkpoint is not None and Path(checkpoint).suffix == ".onnx":
            floating = Path(checkpoint)
        elif checkpoint is not None:
            floating = ModelRequest(checkpoint, arch, model_kwargs, trust, base=base)
        asked = {
            "images": images,
            "count": count,
            "floating": floating,
            "recipe": recipe,
            "allow_skipped": allow_skipped,
        }
        options = replace(options, threads=threads)
        return _elsewhere(model, runtime, options, asked, json_path, terminal=terminal)
    if checkpoint is not None:
        raise click.UsageError("--float goes with --runtime; mptq-eval compares a file with its float model.")
    with terminal:
        with undivided(terminal, STARTING):
            from mptq_export.verify.run import verify
            from mptq_export.verify.show import show_report

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


#: What goes with --profile.
_BESIDE_PROFILE = frozenset({"model", "profile", "json_path"})


def _refuse_beside_profile() -> None:
    """Refuse options about running a file where its form alone is looked at."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE and parameter.expose_value
        if given and name not in _BESIDE_PROFILE:
            raise click.UsageError(f"--profile reads MODEL and runs nothing; leave {parameter.opts[0]} out.")


def _of_profile(model: Path, json_path: Path | None) -> int:
    """Hold MODEL against a profile and give the exit status."""
    from mptq_export.profile.show import show_profile
    from mptq_export.verify.profile import verify_profile

    report = verify_profile(model)
    write_json(json_path, report.to_json())
    show_profile(report, output(soft_wrap=True), every_node=is_verbose())
    return 0 if report.passed else EXIT_FAILED


def _elsewhere(
    model: Path,
    runtime: RuntimeName,
    options: EdgeOptions,
    asked: dict[str, Any],
    json_path: Path | None,
    *,
    terminal: Terminal,
) -> int:
    """Run MODEL in another runtime and give the exit status."""
    with terminal, undivided(terminal, STARTING):
        from mptq_export.evaluate.beside import FloatModel
        from mptq_export.load.request import ModelRequest
        from mptq_export.verify.elsewhere.run import ElsewhereRequest, verify_elsewhere
        from mptq_export.verify.elsewhere.show import show_elsewhere

    def load_float(request: ModelRequest) -> FloatModel:
        from mptq_export.evaluate.float_model import load_float  # torch

        return load_float(request)

    with terminal:
        report = verify_elsewhere(ElsewhereRequest(model, runtime, options, **asked), load_float, terminal)
    write_json(json_path, report.to_json())
    show_elsewhere(report, output())
    terminal.warn(report.warnings)
    return EXIT_FAILED if report.failed else 0 if report.passed else EXIT_UNPROVED


if __name__ == "__main__":
    main()
