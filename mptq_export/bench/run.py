"""Benchmark ONNX files beside each other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mptq_export.bench.inputs import common_batch, feed_of, read_spec
from mptq_export.bench.instruction_set import detect_cpu
from mptq_export.bench.interleave import Quartiles, interleave
from mptq_export.bench.measure_alone import measure_alone
from mptq_export.bench.report import BenchReport, ModelReport, Runner
from mptq_export.bench.size import file_bytes
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Progress
from mptq_export.verify.reference import open_reference

_PROFILED_RUNS = 10

Run = Callable[[], object]


def bench(
    paths: Sequence[Path],
    *,
    threads: int = 1,
    batch: int | None = None,
    rounds: int = 30,
    reference: bool = False,
    progress: Progress = SILENT,
) -> BenchReport:
    """Time files in turn, each on a seeded random batch, and measure each alone.

    Args:
        paths: the ONNX files; ratios are taken to the first.
        threads: onnxruntime's threads within an operator.
        batch: inputs a run; None takes the batch that the files fix, else 1.
        rounds: timed runs of each.
        reference: also time `kernels_ref` on every file that it can run.
        progress: hears how far it is.

    Raises:
        MptqError: a file cannot be read, loaded or run, or the files do not go together.
    """
    names = dict(zip(short_names(paths), paths, strict=True))
    specs = {name: read_spec(path) for name, path in names.items()}
    size = common_batch([(names[name], spec) for name, spec in specs.items()], batch)
    alone = {
        name: measure_alone(path, threads=threads, batch=size, runs=_PROFILED_RUNS) for name, path in names.items()
    }
    runners = {name: session_runner(path, specs[name], size, threads) for name, path in names.items()}
    references, left_out = _references(names, specs, size) if reference else ({}, ())
    seconds = interleave({**runners, **references}, rounds, progress)
    base = next(iter(seconds.values()))

    def report(name: str) -> ModelReport:
        file = names.get(name) or names[name.removeprefix(_REFERENCE)]
        times = seconds[name]
        runner: Runner = "onnxruntime" if name in names else "kernels_ref"
        latency, ratio = Quartiles.of(times * 1e3), Quartiles.of(times / base)
        return ModelReport(
            name=name,
            model=str(file),
            runner=runner,
            latency_ms=latency,
            ratio=ratio,
            file_bytes=file_bytes(file),
            alone=alone.get(name),
        )

    return BenchReport(
        cpu=detect_cpu(),
        threads=threads,
        batch=size,
        rounds=rounds,
        models=tuple(report(name) for name in seconds),
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


_REFERENCE = "kernels_ref, "


def _references(
    names: dict[str, Path], specs: dict[str, GraphInput], batch: int
) -> tuple[dict[str, Run], tuple[str, ...]]:
    """What runs `kernels_ref`, for each file that it can run, and why it cannot run the others."""
    runners: dict[str, Run] = {}
    left_out: list[str] = []
    for name, path in names.items():
        try:
            run = open_reference(path)
            feed = feed_of(specs[name], batch)
            run(feed)
        except MptqError as error:
            left_out.append(str(error))
            continue
        runners[_REFERENCE + name] = lambda run=run, feed=feed: run(feed)  # type: ignore[misc]
    return runners, tuple(left_out)
