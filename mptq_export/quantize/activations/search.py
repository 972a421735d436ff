"""The quantizers of one site, from the values that the quantized model gives there."""

import math
from dataclasses import replace
from functools import cached_property

import torch

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range
from mptq_export.capture.activations import Function
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation, Linear, Softmax, ToPixels
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.opt_m import activation_levels
from mptq_export.quantize.activations.ranges import (
    affine,
    best_affine,
    best_argument,
    best_symmetric,
    observed,
    symmetric,
)
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.activations.score_bias import ScoreConstants, added_span
from mptq_export.quantize.certification.certify import certify_activation, certify_attention, short_scale
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import ActivationQuant

#: Where a mask is added, Exp falls to code 0 within this many score steps: so many codes can still be certified.
MASKED_STEPS = 400


class ActivationSearch:
    """The quantizer of one site at any width; what all widths share is measured once.

    Attributes:
        range: smallest and largest value.
    """

    def __init__(
        self,
        graph: Graph,
        site: Site,
        value: torch.Tensor,
        known: dict[str, ActivationQuant],
        method: Method,
        importance: torch.Tensor | None,
    ) -> None:
        """Look at the values.

        Args:
            graph: the graph with all transforms so far.
            site: any site.
            value: float32, what the quantized model gives there, all calibration images.
            known: the quantizers of all sites before this one.
            method: which techniques are used.
            importance: float64 [rows], weights of the rows of the linear layer that reads the value, if there is one.
        """
        self.range = observed(value)
        self._graph, self._site, self._value, self._known = graph, site, value, known
        self._method, self._importance = method, importance

    def at(self, bits: int) -> ActivationQuant:
        """Choose scale, zero point and levels.

        Args:
            bits: width of matmul operands; pixels, scores, and what activation functions read or give as floats keep 8.

        Raises:
            MptqError: a table cannot be certified.
        """
        graph, site = self._graph, self._site
        if site.kind == "pixels":
            if isinstance(graph[site.value].op, ToPixels):
                reason = "the 256 values of a pixel; normalisation is folded into the weights"
                return ActivationQuant(1.0, 0, 0, 255, 8, reason)
            return affine(self.range, 8)
        if site.kind == "scores":
            return self._scores(bits)
        if site.kind == "attention":
            return self._attention(bits)
        root = graph.root(site.value)
        if site.kind == "activation":
            quant = self._argument()
            return self._certified(root, quant) if isinstance(root.op, Activation) else quant
        if site.kind == "matmul" and isinstance(root.op, Linear):
            if self._method.clipping:
                return best_symmetric(self._histogram, bits)
            return symmetric(self.range.magnitude, bits)
        if isinstance(root.op, Activation):
            return self._after_activation(root, bits)
        if self._weight is None or not self._method.clipping:
            return affine(self.range, bits)
        return best_affine(self._sample, self.range, bits, self._weight)

    @cached_property
    def _sample(self) -> Sample:
        return Sample.of(self._value, self._importance)

    @cached_property
    def _weight(self) -> torch.Tensor | None:
        return reading_weights(self._graph, self._site.value)

    @cached_property
    def _histogram(self) -> Histogram:
        return Histogram.of(self._value)

    @cached_property
    def _read_histogram(self) -> Histogram:
        """Values count as much as their errors change the output of what reads them."""
        columns = None if self._weight is None else self._weight.double().square().sum(0)
        return Histogram.of(self._value, columns, self._importance)

    @cached_property
    def _lowest_top(self) -> float:
        """The smallest maximum of a row of scores."""
        return float(self._value.amax(-1).min())

    def _argument(self) -> ActivationQuant:
        if not self._method.clipping:
            return affine(self.range, 8)
        node = self._site.node
        readers = reading_weights(self._graph, node.name)
        columns = self._value.new_ones(1).double() if readers is None else readers.double().square().sum(0)
        return best_argument(self._sample, self.range, columns, node.attributes(Activation).function)

    def _after_activation(self, producer: Node, bits: int) -> ActivationQuant:
        source, function = self._argument_of(producer)
        quant, method = affine(self.range, bits), self._method
        if self._weight is not None and (method.regions or method.clipping):
            quant = activation_levels(
                self._read_histogram, self._sample, self._weight, source, function, bits, regions=method.regions
            )
        return self._certified(producer, quant)

    def _certified(self, producer: Node, quant: ActivationQuant) -> ActivationQuant:
        source, function = self._argument_of(producer)
        return certify_activation(self._site.key, source, quant, function)

    def _argument_of(self, producer: Node) -> tuple[ActivationQuant, Function]:
        return self._known[f"{producer.name}.input"], producer.attributes(Activation).function

    def _scores(self, bits: int) -> ActivationQuant:
        """From the lowest score that can still get an attention code above 0 to the largest score."""
        constants, levels = ScoreConstants.of(self._graph, self._site.node), 2**bits - 1
        depth = math.log(2 * levels) + 0.1
        seen = self.range
        deepest = max(seen.low, self._lowest_top - depth)
        plain = affine(Range(deepest, max(seen.high, deepest + 1e-3)), 8)
        if constants.values:
            scale = max(plain.scale, math.log(4 * levels) / MASKED_STEPS)
            plain = replace(plain, scale=scale, zero_point=round(plain.zero_point * plain.scale / scale))
        span = 255 + added_span(constants.codes(plain.scale, levels).values()) + 2
        reason = "from the lowest score that still matters under its row's maximum to the largest score"
        return replace(plain, scale=short_scale(plain.scale, span), reason=reason)

    def _attention(self, bits: int) -> ActivationQuant:
        graph, site = self._graph, self._site
        softmax = site.node if isinstance(site.node.op, Softmax) else graph.root(site.value)
        high = 2**bits - 1
        reason = "softmax without its division: the row maximum is the top code"
        quant = ActivationQuant(1.0 / high, 0, 0, high, bits, reason)
        score = self._known[f"{softmax.name}.input"]
        span = 255 + added_span(ScoreConstants.of(graph, softmax).codes(score.scale, high).values())
        return certify_attention(site.key, quant, score.scale, span)


def reading_weights(graph: Graph, value: str) -> torch.Tensor | None:
    """The weights of all linear layers that read a value, through movement that keeps its channels: [N, K]."""
    width = graph[value].shape.dims[-1]
    readers = [reader for reader, _ in graph.final_readers(value) or () if isinstance(reader.op, Linear)]
    found = [reader.params["weight"] for reader in readers if reader.params["weight"].shape[1] == width]
    return torch.cat(found) if found else None
