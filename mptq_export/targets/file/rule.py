"""What a rule of a target's files is, and a file that breaks one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mptq_export.targets.file.view import FileView


@dataclass(frozen=True)
class FileRule:
    """One rule.

    Attributes:
        name: short, as refusals name it.
        says: the rule, a sentence for people.
        source: the test that runs it in the runtime, or the document that says so.
        broken: what in a file breaks it, a sentence each.
    """

    name: str
    says: str
    source: str
    broken: Callable[[FileView], Iterable[str]]


@dataclass(frozen=True)
class Broken:
    """A rule that a file breaks.

    Attributes:
        rule: its name.
        why: the first of what breaks it.
        times: how often it is broken.
    """

    rule: str
    why: str
    times: int
