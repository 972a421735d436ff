"""Pages followed step by step, and brought up to date."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.pages.blocks import PageError, with_text
from tools.pages.fresh import REPO
from tools.pages.shell import Run, RunPython, printed_by, run_command, run_python
from tools.pages.stamp import here, stamp_of, stamped
from tools.pages.steps import Step, steps_of
from tools.pages.varying import difference

#: In the order in which one folder is taken through them: a page may use what those before it left.
PAGES = tuple(REPO / name for name in ("README.md", "docs/index.md", "docs/tutorial.md", "docs/deploying.md"))


@dataclass(frozen=True)
class Printed:
    """What a step printed where a page shows something, or None where it was left out."""

    step: Step
    text: str | None

    def differs(self) -> str:
        """Where the page shows something else, the lines that do; else nothing."""
        if self.step.shown is None or self.text is None:
            return ""
        return difference(self.step.shown.text, self.text)


def follow(
    page: Path, folder: Path, *, slow: bool, run: Run = run_command, python: RunPython = run_python
) -> Iterator[Printed]:
    """Do what a page says, in a folder.

    Args:
        page: a file of Markdown.
        folder: of a fresh copy, and what the pages before it left there.
        slow: also what takes a minute.
        run: runs a line of a shell.
        python: runs a program.

    Raises:
        PageError: the page cannot be followed.
    """
    text = page.read_text(encoding="utf-8")
    try:
        for step in steps_of(text):
            left_out = step.not_run or step.missing or (step.slow and not slow)
            yield Printed(step, None if left_out else printed_by(step, folder, run, python))
    except PageError as error:
        raise PageError(f"{page.name}, {error}") from error


def stale(page: Path) -> str:
    """Why what a page shows cannot be compared here: other versions printed it. Empty where it can."""
    text = page.read_text(encoding="utf-8")
    said = stamp_of(text) if any(step.shown for step in steps_of(text)) else here()
    return "" if said == here() else f"{page.name} shows what {said} printed; here is {here()}"


def renewed(text: str, printed: list[Printed]) -> str:
    """A page with outputs and versions of now; an output of which only what may vary differs stays as it is."""
    for each in reversed(printed):
        if each.differs() and each.step.shown is not None and each.text is not None:
            lines = [line.rstrip() + "\n" for line in each.text.strip("\n").splitlines()]
            text = with_text(text, each.step.shown, "".join(lines))
    return stamped(text)
