"""What a reader of a page types, step by step, and what the page shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from tools.pages.blocks import Block, PageError, blocks_of

#: What is typed, and what is printed; other languages are neither.
SHELL, PYTHON, PRINTED = "sh", "python", "text"
_OTHERS = {"json", "cpp", "c", "js", "html", "kotlin", "swift"}
_NOT_RUN, _SLOW, _NEEDS = "not run: ", "slow", "needs "


@dataclass(frozen=True)
class Step:
    """A block of commands, or a Python program.

    Attributes:
        block: what is typed.
        shown: the block behind it, of what that prints; None where the page shows nothing.
        slow: whether it takes a minute.
        needs: a module without which it cannot be run; empty for none.
        not_run: why it is not run by a test; empty where it is.
    """

    block: Block
    shown: Block | None
    slow: bool
    needs: str
    not_run: str

    @property
    def commands(self) -> tuple[str, ...]:
        """Of a block of commands one by one, without remarks."""
        whole = self.block.text.replace("\\\n", " ")
        return tuple(line for line in map(str.strip, whole.splitlines()) if line and not line.startswith("#"))

    @property
    def is_python(self) -> bool:
        """Whether it is a program."""
        return self.block.language == PYTHON

    @property
    def missing(self) -> bool:
        """Whether what it needs is not installed."""
        return bool(self.needs) and find_spec(self.needs) is None


def steps_of(text: str) -> list[Step]:
    """The steps of a page.

    Raises:
        PageError: a block is of no known kind, what is printed stands behind no commands, or a comment above a block is
            none of those that are known.
    """
    return list(_steps(blocks_of(text)))


def _steps(blocks: list[Block]) -> Iterator[Step]:
    for place, block in enumerate(blocks):
        before = blocks[place - 1].language if place else ""
        if block.language in (SHELL, PYTHON):
            after = blocks[place + 1] if place + 1 < len(blocks) else None
            yield _step(block, after if after and after.language == PRINTED else None)
        elif block.language == PRINTED:
            if before not in (SHELL, PYTHON):
                raise PageError(f"line {block.line}: no commands stand before what they print")
        elif block.language not in _OTHERS:
            raise PageError(
                f"line {block.line}: a block of {block.language or 'nothing'!r}; write ```sh, ```text or ```python"
            )


def _step(block: Block, shown: Block | None) -> Step:
    slow, needs, not_run = False, "", ""
    for comment in block.comments:
        if comment.startswith(_NOT_RUN):
            not_run = comment.removeprefix(_NOT_RUN)
        elif comment.startswith(_NEEDS):
            needs = comment.removeprefix(_NEEDS)
        elif comment == _SLOW:
            slow = True
        else:
            raise PageError(
                f"line {block.line}: {comment!r} above a block is none of: not run: WHY, slow, needs MODULE"
            )
    if not_run and shown:
        raise PageError(f"line {shown.line}: what is not run prints nothing that could be shown")
    return Step(block, shown, slow, needs, not_run)
