"""How the softmax is quantized: its scores, and the attention codes that become of them.

A row of scores is 8-bit codes, whose largest is the row's maximum. `exp(-k * scale)` of the distances k to it is
certified for every k that can occur, and quantized again: those are the attention codes, not yet divided by their sum.
"""

import math
from dataclasses import replace

import torch

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Softmax
from mptq_export.quantize.activations.attention_levels import WIDEST, best_levels, largest_step
from mptq_export.quantize.activations.ranges import affine
from mptq_export.quantize.activations.score_bias import ScoreConstants, largest_distance
from mptq_export.quantize.certification.certify import certify_attention, short_scale
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError

#: Where a mask is added, Exp falls to code 0 within this many score steps: so many codes can still be certified.
MASKED_STEPS = 400


def quantize_scores(graph: Graph, softmax: Node, seen: Range, lowest_maximum: float, levels: float) -> ActivationQuant:
    """The 8-bit quantizer of scores: from the lowest that can still get an attention code above 0 to the largest.

    Args:
        graph: the graph with all transforms so far.
        softmax: what reads the scores.
        seen: range of all scores.
        lowest_maximum: the smallest maximum of a row.
        levels: the most steps of attention codes that a row's maximum may be of.
    """
    constants = ScoreConstants.of(graph, softmax)
    depth = math.log(2 * levels) + 0.1
    deepest = max(seen.low, lowest_maximum - depth)
    plain = affine(Range(deepest, max(seen.high, deepest + 1e-3)), 8)
    if constants.values:
        scale = max(plain.scale, math.log(4 * levels) / MASKED_STEPS)
        plain = replace(plain, scale=scale, zero_point=round(plain.zero_point * plain.scale / scale))
    furthest = largest_distance(constants.codes(plain.scale, math.ceil(levels)).values()) + 2
    reason = "from the lowest score that still matters under its row's maximum to the largest score"
    return replace(plain, scale=short_scale(plain.scale, furthest), reason=reason)


def most_steps(bits: int, *, levels: bool) -> float:
    """The most steps of attention codes that a row's maximum is of, at a width; arguments as for what chooses them."""
    return largest_step(bits) if levels and bits <= WIDEST else 2**bits - 1


def quantize_attention(
    graph: Graph, site: Site, known: dict[str, ActivationQuant], bits: int, rows: torch.Tensor | None
) -> ActivationQuant:
    """The quantizer of attention codes, certified.

    Args:
        graph: the graph with all transforms so far.
        site: where a softmax becomes codes.
        known: quantizers so far, that of the scores among them.
        bits: width of the codes.
        rows: float32 [n, T], some of what the softmax gives before its division, where levels are searched.

    Raises:
        MptqError: no scale can be certified.
    """
    softmax = site.node if isinstance(site.node.op, Softmax) else graph.root(site.value)
    high = 2**bits - 1
    reason = "softmax without its division: the row maximum is the top code"
    plain = ActivationQuant(1.0 / high, 0, 0, high, bits, reason)
    score = known[f"{softmax.name}.input"]
    constants = ScoreConstants.of(graph, softmax)

    def certified(quant: ActivationQuant) -> ActivationQuant:
        furthest = largest_distance(constants.codes(score.scale, quant.high).values())
        return certify_attention(site.key, quant, score.scale, furthest)

    for quant in () if rows is None or bits > WIDEST else best_levels(rows, bits, reason):
        try:
            return certified(quant)
        except MptqError:  # then the next one
            continue
    return certified(plain)
