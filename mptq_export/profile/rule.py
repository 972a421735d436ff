"""What a rule of a profile is, what breaks one, and what is an exception to one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx

from mptq_export.profile.view import ProfileView


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule.

    Attributes:
        place: the node's name, or the tensor's, or what of the file it is.
        why: what is wrong there, a sentence.
        node: the node, where it is one.
    """

    place: str
    why: str
    node: onnx.NodeProto | None = None


def at(node: onnx.NodeProto, why: str) -> Finding:
    """A finding at a node."""
    return Finding(node.name or next(iter(node.output), node.op_type), f"{node.op_type}: {why}", node)


@dataclass(frozen=True)
class ProfileRule:
    """One rule.

    Attributes:
        name: a few letters and a number.
        says: the rule, a sentence in words of this project.
        source: the document that it comes from, and where in it.
        broken: what in a file breaks it.
    """

    name: str
    says: str
    source: str
    broken: Callable[[ProfileView], Iterable[Finding]]


@dataclass(frozen=True)
class ProfileException:
    """A place where files of this program do not obey a rule, and why.

    Attributes:
        name: short.
        rule: name of the rule.
        says: what is excepted, a sentence.
        reason: why it is not written as the rule wants it.
        covers: whether a finding is one of these.
    """

    name: str
    rule: str
    says: str
    reason: str
    covers: Callable[[ProfileView, onnx.NodeProto], bool]
