"""ATen ops that replace what a constant mask marks.

`masked(x, v) = x keep + v (1 - keep)` with keep 0 or 1. In front of a softmax v is minus infinity, or so far below all
scores that they do not matter beside it: then it is added, `x + v (1 - keep)`.
"""

import math
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.repeated import Meeting, constant
from mptq_export.capture.metadata import module_path
from mptq_export.capture.ops import Add, Mul, Reshape
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

#: What is at most this is minus infinity to a softmax.
_FAR_BELOW = -1e4


def masked_fill(tracer: Tracer, node: fx.Node) -> str:
    """A number where a constant mask is true."""
    source, mask, value = arguments(node)[:3]
    return _replaced(tracer, node, source, mask, value, where=True)


def where(tracer: Tracer, node: fx.Node) -> str:
    """One of two operands, as a constant mask says."""
    mask, first, second = arguments(node)[:3]
    kept = [operand for operand in (first, second) if _is_live(tracer, operand)]
    if len(kept) == 1:
        live, other = (first, second) if kept[0] is first else (second, first)
        return _replaced(tracer, node, live, mask, other, where=live is not first)
    meeting = Meeting(tracer, node, (mask,))
    chosen = meeting.numbers(_mask(tracer, node, mask)).float()
    names = tuple(
        meeting.step(Mul(), "kept", (meeting.operand(operand),), {"value": keep})
        for operand, keep in ((first, chosen), (second, 1 - chosen))
    )
    return meeting.result(Add(), "where", names)


def _is_live(tracer: Tracer, operand: Any) -> bool:
    return isinstance(operand, fx.Node) and not tracer.is_constant(operand)


def _mask(tracer: Tracer, node: fx.Node, mask: fx.Node) -> torch.Tensor:
    value = tracer.values[mask]
    if not isinstance(value, torch.Tensor):
        raise MptqError(f"{module_path(node)}: {node.target} with a mask that depends on the image is not supported")
    return value.bool()


def _replaced(tracer: Tracer, node: fx.Node, source: fx.Node, mask: fx.Node, value: Any, *, where: bool) -> str:
    """A value in which a constant stands where the mask is `where`."""
    marked = _mask(tracer, node, mask) == where
    new = tracer.constant(value) if isinstance(value, fx.Node) else torch.tensor(float(value))
    if not bool(marked.any()):
        return tracer.value(source)
    meeting = Meeting(tracer, node, (mask, value))
    name = meeting.operand(source)
    if not bool((new <= _FAR_BELOW).all()):
        name = meeting.step(Mul(), "kept", (name,), {"value": meeting.numbers(~marked).float()})
    return meeting.result(Add(), "masked", (name, meeting.constant("mask", torch.where(marked, new, 0.0))))


def masked_scores(tracer: Tracer, node: fx.Node, scores: str, mask: fx.Node) -> str:
    """Scores and the mask of an attention: added, or minus infinity where a boolean one is false."""
    value, meeting = tracer.values[mask], Meeting(tracer, node, (mask,))
    if isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        other = meeting.constant("mask", torch.zeros(value.shape).masked_fill(~value, -math.inf))
    else:
        other = meeting.operand(mask)
    shape = tracer.by_name[scores].shape
    if meeting.rows is None:
        return tracer.add(Add(), name_of(node, "scores_masked"), (scores, other), shape)
    pair, apart = (meeting.value(scores), other), meeting.rows.split(shape)
    added = tracer.add(Add(), name_of(node, "scores_rows"), pair, apart)
    return tracer.add(Reshape(), name_of(node, "scores_masked"), (added,), shape)


def causal(tracer: Tracer, node: fx.Node, scores: str) -> str:
    """Scores of which a token sees none of those behind it."""
    shape = tracer.by_name[scores].shape
    later = torch.full(shape.dims[-2:], -math.inf).triu(1)
    pair = (scores, constant(tracer, name_of(node, "later"), later))
    return tracer.add(Add(), name_of(node, "scores_causal"), pair, shape)
