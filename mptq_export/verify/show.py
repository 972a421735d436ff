"""A verification for people: totals first, then only what is wrong."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.verify.inputs.sets import describe_inputs
from mptq_export.verify.kernels.plan import KernelPlan
from mptq_export.verify.kernels.saturation import PAIR_SUM_SAFE
from mptq_export.verify.origin import Origin
from mptq_export.verify.report import VerifyReport

_ROWS = 12


def show_report(report: VerifyReport, console: Console) -> None:
    """Print totals, the tensors that differ, and the kernel plan; of a file that was not run, only why."""
    if report.origin and not report.samples:
        show_origin(report.origin, console)
        return
    console.print(
        f"{escape(report.model)}: {_inputs(report)}, {report.values:,} values in "
        f"{report.count('compared') + report.count('folded')} tensors compared",
        soft_wrap=True,
    )
    console.print(
        f"  {report.count('compared')} at run time, {report.count('folded')} folded at load; not comparable: "
        f"{report.count('fused')} inside a fused kernel, {report.count('unreadable')} unreadable; "
        f"{len(report.runtime_made)} tensors made by the runtime",
        soft_wrap=True,
    )
    if report.count("certified"):
        console.print(
            f"  {report.count('certified')} float results of Exp and Gelu are held to their margin: largest deviation "
            f"{report.table_deviation:.1e} of a step, margin {MARGIN:.0e}; the codes behind them are compared",
            soft_wrap=True,
        )
    if report.tables:
        console.print(
            f"  all {report.tables.arguments:,} arguments of the functions were run in this onnxruntime"
            + (f": [red]{escape(report.tables.problem)}[/]" if report.tables.problem else ""),
            soft_wrap=True,
        )
    if report.diverging:
        _show_diverging(report, console)
    for label, ends in (("kernels_ref", report.outputs), ("the session that was compared", report.instrumented)):
        for name, end in ends.items():
            if end.differing:
                console.print(
                    f"  default session's {escape(name)} against {label}: {end.differing:,} of {end.values:,} differ",
                    soft_wrap=True,
                )
    _show_batches(report, console)
    show_plan(report.plan, console)
    if report.origin:
        show_origin(report.origin, console)
    _show_verdict(report, console)


def _show_verdict(report: VerifyReport, console: Console) -> None:
    """Print the verdict in one line, and what stands between equal and exact, or explains a difference."""
    if report.exact:
        end = ", [red]but matmuls run in float[/]" if report.plan.floating else ""
        end += ", [red]but results depend on the batch[/]" if report.mixing else ""
        console.print(f"[green]exact: 0 differing values[/]{end}")
        return
    for reason in report.reservations[:_ROWS]:
        console.print(f"  [yellow]not proved:[/] {escape(reason)}", soft_wrap=True)
    if len(report.reservations) > _ROWS:
        console.print(f"  ... and {len(report.reservations) - _ROWS} more (all in the --json file)")
    if report.verdict == "different" and not report.differing and report.tables and report.tables.problem:
        console.print(
            "[red]DIFFERENT: a function of this onnxruntime gives another code[/], though not on these inputs"
        )
        return
    if report.verdict == "different":
        console.print(f"[red]DIFFERENT: {report.differing:,} of {report.values:,} values differ[/]")
        return
    console.print(
        f"[yellow]equal on these inputs: 0 differing values[/], but not proved for others or on another CPU: "
        f"{len(report.reservations)} reasons above",
        soft_wrap=True,
    )


def _inputs(report: VerifyReport) -> str:
    """What was run."""
    if not report.inputs:
        return f"{report.samples} inputs"
    return describe_inputs(report.inputs, report.batches)


def _show_batches(report: VerifyReport, console: Console) -> None:
    """Print whether a result depends on the batch, and of which batches the outputs alone were compared."""
    for name, end in report.together.items():
        if end.differing:
            console.print(
                f"  [red]depends on the batch:[/] {end.differing:,} of {end.values:,} values of {escape(name)} are "
                "others than for the same input alone",
                soft_wrap=True,
            )
    if report.outputs_only:
        console.print(
            f"  {report.outputs_only} inputs in batches: the outputs alone, all tensors at once need too much memory "
            "(--batch compares them all the same)",
            soft_wrap=True,
        )


def show_origin(origin: Origin, console: Console) -> None:
    """Print whether a file is what its recipe, or its own hash, says."""
    against = escape(origin.recipe) if origin.recipe else "the hash that it carries"
    if not origin.problems and origin.recipe:
        console.print(
            f"origin: {origin.parts} parts compared with {against}, the codes of {origin.weights} layers unpacked: "
            "as written",
            soft_wrap=True,
        )
        return
    if not origin.problems:
        console.print(
            f"origin: as its own hash says ({origin.parts} parts); self-declared, --recipe proves it", soft_wrap=True
        )
        return
    console.print(
        f"origin: [red]NOT AS WRITTEN[/], {len(origin.problems)} parts are not those of {against}", soft_wrap=True
    )
    for problem in origin.problems[:_ROWS]:
        console.print(f"  {escape(problem)}", soft_wrap=True)
    if len(origin.problems) > _ROWS:
        console.print(f"  ... and {len(origin.problems) - _ROWS} more (all in the --json file)")


def _show_diverging(report: VerifyReport, console: Console) -> None:
    first = report.diverging[0]
    why = f"; {report.unclaimed[first.name]}" if first.name in report.unclaimed else ""
    console.print(f"  first diverging tensor: {escape(first.name)} (made by {first.op}{escape(why)})", soft_wrap=True)
    table = Table("tensor", "op", "differ", "values", "largest", "note", box=None, padding=(0, 2))
    worst = sorted(report.diverging[1:], key=lambda tensor: -tensor.difference.differing)[: _ROWS - 1]
    for tensor in (first, *worst):
        found = tensor.difference
        note = f"{found.zero_signs} signs of zero" if found.zero_signs else found.note
        table.add_row(
            escape(tensor.name), tensor.op, f"{found.differing:,}", f"{found.values:,}", f"{found.largest:.3g}", note
        )
    console.print(table)
    if len(report.diverging) > _ROWS:
        console.print(f"  ... and {len(report.diverging) - _ROWS} more (all in the --json file)")


def show_plan(plan: KernelPlan, console: Console) -> None:
    """Print how many matmuls run in integers, and name those that do not or that may saturate."""
    ops: dict[str, int] = {}
    for kernel in plan.matmuls:
        ops[kernel.op] = ops.get(kernel.op, 0) + 1
    listed = ", ".join(f"{count} {op}" for op, count in ops.items()) or "none"
    console.print(f"matmuls: {len(plan.integer)} integer, {len(plan.floating)} float ({listed})")
    for kernel in plan.floating[:_ROWS]:
        operands = f"{kernel.inputs[0]} x {kernel.inputs[1]}, {kernel.weight}"
        console.print(f"  [red]runs in float:[/] {escape(kernel.name)} ({kernel.op}, {operands})", soft_wrap=True)
    if len(plan.floating) > _ROWS:
        console.print(f"  ... and {len(plan.floating) - _ROWS} more")
    if plan.may_saturate:
        console.print(
            f"  {len(plan.may_saturate)} have weights that saturate on x86 without VNNI if the activation uses all "
            f"8 bits (a pair sum over {PAIR_SUM_SAFE}), first {escape(plan.may_saturate[0].name)}",
            soft_wrap=True,
        )
