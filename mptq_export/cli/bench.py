"""``mptq-bench``: how fast are these files beside each other, and where does the time go?"""

from pathlib import Path
from typing import get_args

import click

from mptq_export.cli.common import MptqCommand, json_option, write_json
from mptq_export.cli.terminal import Terminal
from mptq_export.cli.verbosity import output
from mptq_export.runtime.edge.options import EdgeOptions, Precision, TimedRuntime
from mptq_export.support.progress import STARTING, undivided


@click.command(
    "mptq-bench",
    cls=MptqCommand,
    isolated=True,
    examples=[
        "mptq-bench float.onnx model.mptq.onnx",
        "mptq-bench float.onnx model.mptq.onnx --threads 4 --batch 8 --json report.json",
        "mptq-bench model.openvino.onnx --runtime openvino --threads 2",
        "OMP_NUM_THREADS=1 mptq-bench model.mptq.onnx --reference",
    ],
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads within an operator.")
@click.option("--batch", type=click.IntRange(1), help="Inputs a run.  [default: what the files fix, else 1]")
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True, help="Timed runs of each model.")
@click.option("--runtime", type=click.Choice(get_args(TimedRuntime)), help="Also time every model there.")
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="What --runtime computes in what has no codes.  [default: bfloat16 where the CPU has it]",
)
@click.option(
    "--reference",
    is_flag=True,
    help="Also time kernels_ref, on the files that it can run; OMP_NUM_THREADS sets its threads.",
)
@json_option
def main(
    *,
    models: tuple[Path, ...],
    threads: int,
    batch: int | None,
    rounds: int,
    runtime: TimedRuntime | None,
    precision: Precision | None,
    reference: bool,
    json_path: Path | None,
) -> None:
    """Time ONNX files in turn and compare each with the first.

    Each MODEL has one float32 or uint8 input; it runs on random values in onnxruntime's default session, and
    with --runtime in that one too, in turn. Load time, peak memory and the time of each op are measured in onnxruntime,
    in a process of its own for each file.
    """
    if precision and runtime is None:
        raise click.UsageError("--precision goes with --runtime.")
    with Terminal() as terminal:
        with undivided(terminal, STARTING):
            from mptq_export.bench.run import bench
            from mptq_export.bench.show import show_report

        report = bench(
            models,
            threads=threads,
            batch=batch,
            rounds=rounds,
            runtime=runtime,
            options=EdgeOptions(precision=precision),
            reference=reference,
            progress=terminal,
        )
    write_json(json_path, report.to_json())
    show_report(report, output())


if __name__ == "__main__":
    main()
