"""A run in another runtime for people: where it ran, how close it came, and the verdict."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mptq_export.runtime.edge.session import PlacedOps
from mptq_export.verify.elsewhere.closeness import Closeness
from mptq_export.verify.elsewhere.final_codes import CodesOff
from mptq_export.verify.elsewhere.report import ElsewhereReport, OutputElsewhere
from mptq_export.verify.inputs.sets import describe_inputs
from mptq_export.verify.show import show_origin

_ROWS = 12
_NOTHING = "-"


def show_elsewhere(report: ElsewhereReport, console: Console) -> None:
    """Print a report."""
    if report.origin is not None:
        show_origin(report.origin, console)
    if report.placement is None and not report.refused:
        return  # a file that is not its recipe's
    if report.placement is None:
        console.print(f"[red]REFUSED[/] by {report.runtime}: {escape(report.refused)}", soft_wrap=True)
        return
    console.print(
        f"{escape(report.model)}: {describe_inputs(report.inputs, ())} on the {escape(report.device)} "
        f"({escape(report.version)}), {report.seconds:.2f} s an input",
        soft_wrap=True,
    )
    _show_placement(report, console)
    for output in report.outputs:
        _show_output(report, output, console)
    console.print(
        "  file: what it says, as onnxruntime's CPU provider computes it without optimizations", soft_wrap=True
    )
    for reason in report.wrong:
        console.print(f"  [red]wrong:[/] {escape(reason)}", soft_wrap=True)
    colour = "red" if report.failed else "green" if report.passed else "yellow"
    verdict = report.verdict.upper() if report.failed else report.verdict
    console.print(f"[{colour}]{verdict}[/]")


def _show_placement(report: ElsewhereReport, console: Console) -> None:
    placement = report.placement
    assert placement is not None
    total = sum(placed.count for placed in placement.ops)
    if placement.left:
        console.print(f"  [red]not whole:[/] the CPU computes {_ops(placement.left)}", soft_wrap=True)
    else:
        console.print(f"  whole: {total} ops, none left to the CPU")
    if placement.floating:
        console.print(f"  [yellow]in floats:[/] {_ops(placement.floating)}", soft_wrap=True)
    elif not placement.left and any(placed.integer for placed in placement.ops):
        console.print("  all in integers")
    console.print(f"  from {escape(placement.source)}", soft_wrap=True)


def _ops(placed: Iterable[PlacedOps]) -> str:
    """Such as `3 LayerNorm (f32 x f32 x f32 -> f32), 1 Erf`."""
    listed = [f"{ops.count} {ops.op}" + (f" ({ops.numbers})" if ops.numbers else "") for ops in placed]
    rest = [f"{len(listed) - _ROWS} more"] if len(listed) > _ROWS else []
    return escape(", ".join([*listed[:_ROWS], *rest]))


def _show_output(report: ElsewhereReport, output: OutputElsewhere, console: Console) -> None:
    """A line for each pair of sides, and the codes that are off."""
    logits = output.kind == "logits"
    table = Table(box=None, padding=(0, 2))
    for column in (output.name, *(("top-1 equal", "mean KL") if logits else ()), "SQNR", "cosine", "largest"):
        table.add_column(escape(column), no_wrap=True)
    pairs = (
        (f"{report.runtime} to file", output.written),
        (f"{report.runtime} to float", output.floating),
        ("file to float", output.written_floating),
    )
    for label, found in pairs:
        if found is not None:
            table.add_row(label, *_numbers(found, logits=logits))
    console.print(table)
    if output.codes is not None:
        console.print(f"  codes: {_codes(output.codes)}", soft_wrap=True)


def _numbers(found: Closeness, *, logits: bool) -> list[str]:
    sqnr = "equal" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
    rest = [sqnr, f"{found.cosine:.5f}", f"{found.largest:.3g}"]
    if not logits:
        return rest
    agreement = _NOTHING if found.agreement is None else f"{round(found.agreement * found.inputs)} of {found.inputs}"
    return [agreement, _NOTHING if found.mean_kl is None else f"{found.mean_kl:.5f}", *rest]


def _codes(codes: CodesOff) -> str:
    """Such as `31% equal, 40% off by 1, 29% by more; 1.3 steps on average, 9 at most`."""
    equal, one, *more = (count / max(codes.values, 1) for count in codes.off_by)
    return (
        f"{equal:.1%} equal, {one:.1%} off by 1, {sum(more):.1%} by more; {codes.mean:.2g} steps on average, "
        f"{codes.most} at most (a step is {codes.step:.3g})"
    )
