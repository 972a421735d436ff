"""The quantizer of one site, from the values that the quantized model gives there."""

import math
from dataclasses import replace

import torch

from mptq_export.calibrate.sites import Site, score_path
from mptq_export.calibrate.statistics import Range
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.certify import certify_activation, certify_attention, short_scale
from mptq_export.quantize.histogram import Histogram
from mptq_export.quantize.levels import activation_levels
from mptq_export.quantize.method import Method
from mptq_export.quantize.ranges import (
    affine,
    best_affine,
    best_argument,
    best_symmetric,
    observed,
    symmetric,
)
from mptq_export.quantize.sample import Sample
from mptq_export.quantize.score_bias import bias_span
from mptq_export.recipe.schema import ActivationQuant

#: Where a mask is added, Exp falls to code 0 within this many score steps: so many codes can still be certified.
MASKED_STEPS = 400


def choose_activation(
    graph: Graph,
    site: Site,
    value: torch.Tensor,
    bits: int,
    known: dict[str, ActivationQuant],
    method: Method,
    importance: torch.Tensor | None,
) -> ActivationQuant:
    """Choose scale, zero point and levels of one site.

    Args:
        graph: the graph with all transforms so far.
        site: any site.
        value: float32, what the quantized model gives there, all calibration images.
        bits: width of matmul operands; pixels, scores, and what activation functions read or give as floats, keep 8.
        known: the quantizers of all sites before this one.
        method: which techniques are used.
        importance: float64 [rows], weights of the rows of the linear layer that reads the value, if there is one.

    Raises:
        MptqError: a table cannot be certified.
    """
    if site.kind == "pixels":
        if graph[site.value].op == "to_pixels":
            reason = "the 256 values of a pixel; normalisation is folded into the weights"
            return ActivationQuant(1.0, 0, 0, 255, 8, reason)
        return affine(observed(value), 8)
    if site.kind == "scores":
        return _scores(graph, site.node, value, bits)
    if site.kind == "attention":
        return _attention(graph, site, bits, known)
    root = graph.root(site.value)
    if site.kind == "activation":
        if not method.clipping:
            return affine(observed(value), 8)
        readers = reading_weights(graph, site.node.name)
        columns = value.new_ones(1).double() if readers is None else readers.double().square().sum(0)
        return best_argument(Sample.of(value, importance), observed(value), columns, site.node.attrs["function"])
    if site.kind == "matmul" and root.op == "linear":
        return (
            best_symmetric(Histogram.of(value), bits) if method.clipping else symmetric(observed(value).magnitude, bits)
        )
    weight = reading_weights(graph, site.value)
    if root.op == "activation":
        return _after_activation(site, root, value, weight, bits, known, method, importance)
    if weight is None or not method.clipping:
        return affine(observed(value), bits)
    return best_affine(Sample.of(value, importance), observed(value), bits, weight)


def reading_weights(graph: Graph, value: str) -> torch.Tensor | None:
    """The weights of all linear layers that read a value, through movement that keeps its channels: [N, K]."""
    width = graph[value].shape.dims[-1]
    readers = [reader for reader, _ in graph.final_readers(value) or () if reader.op == "linear"]
    found = [reader.params["weight"] for reader in readers if reader.params["weight"].shape[1] == width]
    return torch.cat(found) if found else None


def _after_activation(
    site: Site,
    producer: Node,
    value: torch.Tensor,
    weight: torch.Tensor | None,
    bits: int,
    known: dict[str, ActivationQuant],
    method: Method,
    importance: torch.Tensor | None,
) -> ActivationQuant:
    source, function = known[f"{producer.name}.input"], producer.attrs["function"]
    quant = affine(observed(value), bits)
    if weight is not None and (method.regions or method.clipping):
        seen, sample = Histogram.of(value, weight.double().square().sum(0), importance), Sample.of(value, importance)
        quant = activation_levels(seen, sample, weight, source, function, bits, regions=method.regions)
    return certify_activation(site.key, source, quant, function)


def _scores(graph: Graph, softmax: Node, value: torch.Tensor, bits: int) -> ActivationQuant:
    """From the lowest score that can still get an attention code above 0 to the largest score."""
    steps = score_path(graph, softmax)[1]
    levels = 2**bits - 1
    depth = math.log(2 * levels) + 0.1
    seen = observed(value)
    deepest = max(seen.low, float(value.amax(-1).min()) - depth)
    plain = affine(Range(deepest, max(seen.high, deepest + 1e-3)), 8)
    if any(step.op == "add" for step in steps):
        scale = max(plain.scale, math.log(4 * levels) / MASKED_STEPS)
        plain = replace(plain, scale=scale, zero_point=round(plain.zero_point * plain.scale / scale))
    span = 255 + bias_span(graph, steps, plain.scale, levels) + 2
    reason = "from the lowest score that still matters under its row's maximum to the largest score"
    return replace(plain, scale=short_scale(plain.scale, span), reason=reason)


def _attention(graph: Graph, site: Site, bits: int, known: dict[str, ActivationQuant]) -> ActivationQuant:
    softmax = site.node if site.node.op == "softmax" else graph.root(site.value)
    high = 2**bits - 1
    reason = "softmax without its division: the row maximum is the top code"
    quant = ActivationQuant(1.0 / high, 0, 0, high, bits, reason)
    score = known[f"{softmax.name}.input"]
    span = 255 + bias_span(graph, score_path(graph, softmax)[1], score.scale, high)
    return certify_attention(site.key, quant, score.scale, span)
