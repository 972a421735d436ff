"""A benchmark for people."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mptq_export.bench.interleave import Quartiles
from mptq_export.bench.measure_alone import ModelFigures
from mptq_export.bench.op_groups import GROUPS
from mptq_export.bench.profile import Profile
from mptq_export.bench.report import BenchReport, Elsewhere

_OPS = 12
_MB = 1e6

Profiles = list[tuple[str, Profile]]


def show_report(report: BenchReport, console: Console) -> None:
    """Print the models, where their time goes, and their slowest ops."""
    console.print(
        f"{escape(report.cpu.description)}; threads {report.threads}, batch {report.batch}, {report.rounds} rounds",
        soft_wrap=True,
    )
    _show_models(report, console)
    profiles = [(model.name, model.alone.profile) for model in report.models if model.alone is not None]
    _show_groups(profiles, console)
    _show_ops(profiles, console)
    for model in report.models:
        if model.elsewhere is not None:
            _show_elsewhere(model.name, model.elsewhere, console)
    for reason in report.left_out:
        console.print(f"left out: {escape(reason)}", soft_wrap=True)


def spread(quartiles: Quartiles) -> str:
    """``low-high`` of a ratio."""
    return f"{quartiles.low:.2f}-{quartiles.high:.2f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    for column in columns:
        name = column in {"model", "op"}
        table.add_column(
            column,
            justify="left" if name else "right",
            overflow="fold",
            no_wrap=not name,
            min_width=20 if column == "op" else None,
        )
    return table


def _show_models(report: BenchReport, console: Console) -> None:
    table = _table("", "model", "median ms", "ratio", "quartiles", "load ms", "peak MB", "file MB")
    for number, model in enumerate(report.models, 1):
        load, peak = (f"{model.alone.load_ms:.0f}", _memory(model.alone)) if model.alone else ("", "")
        latency, ratio, quartiles = f"{model.latency_ms.median:.2f}", f"{model.ratio.median:.2f}", spread(model.ratio)
        size = f"{model.file_bytes / _MB:.2f}"
        table.add_row(str(number), escape(model.name), latency, ratio, quartiles, load, peak, size)
    console.print(table)
    console.print(
        "ratio: to the first model, of the same round; peak: of a process that runs the model (of it the model)",
        soft_wrap=True,
    )


def _show_elsewhere(name: str, elsewhere: Elsewhere, console: Console) -> None:
    """Which kernels another runtime made of a file: those of floats by name, the others as a number."""
    floating = elsewhere.placement.floating
    listed = ", ".join(f"{placed.count} {placed.op} ({placed.numbers})" for placed in floating) or "none"
    others = sum(placed.count for placed in elsewhere.placement.ops) - sum(placed.count for placed in floating)
    console.print(f"\n{escape(name)}: {escape(elsewhere.version)}, {escape(elsewhere.device)}", soft_wrap=True)
    console.print(f"  kernels on codes: {others}; in floats: {escape(listed)}", soft_wrap=True)


def _memory(alone: ModelFigures) -> str:
    if alone.peak_bytes is None or alone.idle_bytes is None:
        return "unknown"
    return f"{alone.peak_bytes / _MB:.0f} ({(alone.peak_bytes - alone.idle_bytes) / _MB:.0f})"


def _show_groups(profiles: Profiles, console: Console) -> None:
    console.print("\nwhere the time goes, ms (share) of one run under onnxruntime's profiler:", soft_wrap=True)
    table = _table("", "model", "nodes", *GROUPS)
    for number, (name, profile) in enumerate(profiles, 1):
        total = sum(profile.groups.values()) or 1.0
        cells = (f"{value:.2f} ({value / total:.0%})" for value in profile.groups.values())
        table.add_row(str(number), escape(name), str(profile.nodes), *cells)
    console.print(table)


def _show_ops(profiles: Profiles, console: Console) -> None:
    by_model = [{(op.group, op.op): op.milliseconds for op in profile.ops} for _, profile in profiles]
    kinds = {kind for times in by_model for kind in times}
    slowest = sorted(kinds, key=lambda kind: (-max(times.get(kind, 0.0) for times in by_model), kind))[:_OPS]
    console.print(f"\nthe {len(slowest)} slowest ops, ms:")
    table = _table("op", *(str(number) for number in range(1, len(profiles) + 1)))
    for group in GROUPS:
        table.add_row(group)
        for kind in (kind for kind in slowest if kind[0] == group):
            table.add_row("  " + kind[1], *(f"{times[kind]:.2f}" if kind in times else "" for times in by_model))
    console.print(table)
