"""Benchmark ONNX files beside each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mptq_export.bench.inputs import common_batch, feed_of, read_spec
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles, interleave
from mptq_export.bench.measure_alone import measure_alone
from mptq_export.bench.report import BenchReport, Elsewhere, ModelReport, Runner
from mptq_export.bench.size import file_bytes
from mptq_export.runtime.edge.opening import check_runtime, open_edge
from mptq_export.runtime.edge.options import EdgeOptions, TimedRuntime
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Progress, tracked
from mptq_export.verify.reference import open_reference

_PROFILED_RUNS = 10

Run = Callable[[], object]

_Row = tuple[Runner, str]
"""What runs a file, and the file's name."""


def bench(
    paths: Sequence[Path],
    *,
    threads: int = 1,
    batch: int | None = None,
    rounds: int = 30,
    runtime: TimedRuntime | None = None,
    options: EdgeOptions | None = None,
    reference: bool = False,
    progress: Progress = SILENT,
) -> BenchReport:
    """Time files in turn, each on a seeded random batch, and measure each alone.

    Args:
        paths: the ONNX files; ratios are taken to the first.
        threads: of each runtime within an operator.
        batch: inputs a run; None takes the batch that the files fix, else 1.
        rounds: timed runs of each.
        runtime: also time every file there.
        options: how it is opened; `threads` is the number above.
        reference: also time `kernels_ref` on every file that it can run.
        progress: hears how far it is.

    Raises:
        MptqError: a file cannot be read, loaded or run, the files do not go together, or the runtime is not installed.
    """
    opened = replace(options or EdgeOptions(), threads=threads)
    if runtime is not None:
        check_runtime(runtime, opened)
    names = dict(zip(short_names(paths), paths, strict=True))
    specs = {name: read_spec(path) for name, path in names.items()}
    size = common_batch([(names[name], spec) for name, spec in specs.items()], batch)
    alone = {
        name: measure_alone(path, threads=threads, batch=size, runs=_PROFILED_RUNS)
        for name, path in tracked(names.items(), progress, "measuring each file alone", len(names))
    }
    runners: dict[_Row, Run] = {}
    elsewhere: dict[_Row, Elsewhere] = {}
    for name, path in names.items():
        runners["onnxruntime", name] = session_runner(path, specs[name], size, threads)
        if runtime is not None:
            row: _Row = (runtime, name)
            runners[row], elsewhere[row] = _edge_runner(runtime, path, opened, feed_of(specs[name], size))
    references, left_out = _references(names, specs, size) if reference else ({}, ())
    seconds = interleave({**runners, **references}, rounds, progress)
    base = next(iter(seconds.values()))

    def report(row: _Row) -> ModelReport:
        runner, name = row
        file, times = names[name], seconds[row]
        latency, ratio = Quartiles.of(times * 1e3), Quartiles.of(times / base)
        return ModelReport(
            name=name if runner == "onnxruntime" else f"{runner}, {name}",
            model=str(file),
            runner=runner,
            latency_ms=latency,
            ratio=ratio,
            file_bytes=file_bytes(file),
            alone=alone[name] if runner == "onnxruntime" else None,
            elsewhere=elsewhere.get(row),
        )

    return BenchReport(
        cpu=detect_cpu(),
        threads=threads,
        batch=size,
        rounds=rounds,
        models=tuple(report(row) for row in seconds),
        left_out=left_out,
    )


def session_runner(path: Path, spec: GraphInput, batch: int, threads: int) -> Run:
    """A function that runs a file once in onnxruntime.

    Raises:
        MptqError: onnxruntime cannot load the file.
    """
    session = open_session(path, threads=threads)
    outputs = [entry.name for entry in session.get_outputs()]
    feed = feed_of(spec, batch)
    return lambda: run_session(session, outputs, feed)


def _edge_runner(
    runtime: TimedRuntime, path: Path, options: EdgeOptions, feed: dict[str, NDArray[Any]]
) -> tuple[Run, Elsewhere]:
    """A function that runs a file once in another runtime, and what that says of itself."""
    session = open_edge(runtime, path, options)
    (x,) = feed.values()
    return lambda: session.run(x), Elsewhere(session.version, session.device, session.placement)


def short_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own, with as many folders as tell it from the others.

    Raises:
        MptqError: a file is named twice.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path in paths if resolved.count(path.resolve()) > 1)
        raise MptqError(f"{twice} is named twice; name every file once")
    depth = 1
    while len({path.parts[-depth:] for path in resolved}) < len(resolved):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in resolved]


def _references(
    names: dict[str, Path], specs: dict[str, GraphInput], batch: int
) -> tuple[dict[_Row, Run], tuple[str, ...]]:
    """What runs `kernels_ref`, for each file that it can run, and why it cannot run the others."""
    runners: dict[_Row, Run] = {}
    left_out: list[str] = []
    for name, path in names.items():
        try:
            run = open_reference(path)
            feed = feed_of(specs[name], batch)
            run(feed)
        except MptqError as error:
            left_out.append(str(error))
            continue
        runners["kernels_ref", name] = lambda run=run, feed=feed: run(feed)  # type: ignore[misc]
    return runners, tuple(left_out)
