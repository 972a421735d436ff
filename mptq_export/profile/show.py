"""A file held against a profile, for people: every rule in a line, then what is broken, then the exceptions."""

from collections.abc import Callable, Sequence

from rich.console import Console

from mptq_export.profile.report import ProfileReport
from mptq_export.profile.rule import Finding

_FEW = 3


def show_profile(report: ProfileReport, console: Console, *, every_node: bool = False) -> None:
    """Print the report.

    Args:
        report: what was found.
        console: where to.
        every_node: name every place, and not the first three of each kind.
    """

    def say(text: str) -> None:
        console.print(text, markup=False)

    say(f"{report.model}: {report.nodes} nodes, held against {len(report.rules)} rules of {report.profile} (a draft)")
    for rule in report.rules:
        verdict = f"broken at {len(rule.broken)}" if rule.broken else "holds"
        beside = f", {len(rule.excepted)} exceptions" if rule.excepted else ""
        say(f"  {rule.rule.name:<4} {verdict + beside:<28} {rule.rule.says}")
        if every_node:
            say(f"  {'':<4} {'':<28} from {rule.rule.source}")
        _say_places(say, rule.broken, every_node=every_node)
    for exception, places in report.exceptions.items():
        say(f"exception to {exception.rule}, {len(places)} nodes: {exception.says}")
        say(f"  because {exception.reason}")
        _say_places(say, places, every_node=every_node)
    broken = sum(len(rule.broken) for rule in report.broken)
    listed = sum(map(len, report.exceptions.values()))
    if report.passed:
        say(f"every rule holds, but for {listed} listed exceptions of {len(report.exceptions)} kinds")
    else:
        names = ", ".join(rule.rule.name for rule in report.broken)
        say(f"BROKEN: {len(report.broken)} rules ({names}) at {broken} places")


def _say_places(say: Callable[[str], None], places: Sequence[Finding], *, every_node: bool) -> None:
    shown = places if every_node else places[:_FEW]
    for place in shown:
        say(f"       {place.place}: {place.why}")
    if len(places) > len(shown):
        say(f"       ... and {len(places) - len(shown)} more (-v names all)")
