"""Statistics and bit-widths -> recipe."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mptq_export.calibrate.sites import Site, score_path, sites
from mptq_export.calibrate.statistics import Range, Statistics
from mptq_export.capture.evaluate import patch_weight
from mptq_export.capture.graph import Graph
from mptq_export.quantize.certify import certify_exp, certify_gelu
from mptq_export.quantize.grids import grid_exponents
from mptq_export.quantize.score_bias import bias_span
from mptq_export.quantize.weights import quantize_weight
from mptq_export.recipe.schema import ActivationQuant, Recipe

#: Where a mask is added, Exp falls to code 0 within this many score steps: so many codes can still be certified.
MASKED_STEPS = 400

#: Scores this far below a row's maximum give attention code 0 at 8 bits: exp(-6.3) * 255 < 1/2.
SCORE_DEPTH = 6.3


def build_recipe(
    graph: Graph, stats: Statistics, bits: tuple[int, int], model: dict[str, Any], settings: dict[str, Any]
) -> Recipe:
    """Choose every quantizer at one uniform bit-width.

    Args:
        graph: prepared canonical graph.
        stats: calibration statistics of that graph.
        bits: (weights, activations); what no matmul reads, and the pixels, stay at 8.
        model: identity of the model, stored in the recipe.
        settings: how the export was asked for, stored in the recipe.

    Returns:
        A recipe without its proof.

    Raises:
        MptqError: a table cannot be certified.
    """
    weight_bits, activation_bits = bits
    weights = {}
    for node in graph:
        if node.op == "linear":
            weights[node.name] = quantize_weight(node.params["weight"].numpy(), weight_bits)
        elif node.op == "patch_embed":
            weights[node.name] = quantize_weight(patch_weight(node).numpy(), weight_bits)
    activations: dict[str, ActivationQuant] = {}
    for site in sites(graph):
        activations[site.key] = _quantizer(graph, site, stats, activation_bits, activations)
    return Recipe(model, settings, activations, weights, grid_exponents(graph, stats))


def _quantizer(
    graph: Graph, site: Site, stats: Statistics, bits: int, known: dict[str, ActivationQuant]
) -> ActivationQuant:
    seen = stats.sites[site.key]
    if site.kind == "attention":
        high = 2**bits - 1
        return ActivationQuant(
            1.0 / high, 0, 0, high, bits, "softmax without its division: the row maximum is the top code"
        )
    if site.kind == "pixels" and graph[site.value].op == "to_pixels":
        return ActivationQuant(1.0, 0, 0, 255, 8, "the 256 values of a pixel; normalisation is folded into the weights")
    if site.kind == "scores":
        steps = score_path(graph, site.node)[1]
        deepest = max(seen.low, seen.lowest_peak - SCORE_DEPTH)
        plain = affine(Range(deepest, max(seen.high, deepest + 1e-3)), 8)
        levels = 2**bits - 1
        if any(step.op == "add" for step in steps):
            finest = math.log(4 * levels) / MASKED_STEPS
            scale = max(plain.scale, finest)
            plain = replace(plain, scale=scale, zero_point=round(plain.zero_point * plain.scale / scale))
        span = 255 + bias_span(graph, steps, plain.scale, levels) + 2
        scale = certify_exp(site.key, plain.scale, span, levels)
        reason = "from the score that still matters (6.3 below the lowest row maximum) to the largest; Exp certified"
        return ActivationQuant(scale, plain.zero_point, reason=reason)
    if site.kind in ("gelu", "pixels"):
        return affine(seen, 8)
    root = graph.root(site.value)
    if site.kind == "matmul" and root.op == "linear":
        return symmetric(seen, bits)
    quant = affine(seen, bits)
    if root.op == "gelu":
        return certify_gelu(site.key, known[f"{root.name}.input"], quant, root.attrs["approximate"])
    return quant


def affine(seen: Range, bits: int) -> ActivationQuant:
    """Min/max quantizer with a zero point; 0 is always representable."""
    high = 2**bits - 1
    low_value, high_value = min(seen.low, 0.0), max(seen.high, 0.0)
    scale = _float32((high_value - low_value) / high) or 1.0
    return ActivationQuant(scale, round(-low_value / scale), 0, high, bits, "min/max of the calibration images")


def symmetric(seen: Range, bits: int) -> ActivationQuant:
    """Min/max quantizer around the middle code, so that q, k and v can share one integer Gemm."""
    middle = 2 ** (bits - 1)
    scale = _float32(seen.magnitude / (middle - 1 if bits > 1 else 1)) or 1.0
    return ActivationQuant(scale, middle, 0, 2**bits - 1, bits, "largest magnitude of the calibration images")


def _float32(value: float) -> float:
    return float(np.float32(value))
