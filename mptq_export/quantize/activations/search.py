"""The quantizers of one site, from the values that the quantized model gives there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.calibrate.statistics import Range
from mptq_export.capture.deferred import Value, parts_of, whole
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation, Depthwise, Linear, Relu, ToPixels
from mptq_export.quantize.activations.attention_levels import drawn_rows
from mptq_export.quantize.activations.attention_ranges import AttentionSample, best_range
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.opt_m import search_levels
from mptq_export.quantize.activations.ranges import (
    BY_ATTENTION,
    FINE_SHARES,
    affine,
    best_affine,
    best_argument,
    best_symmetric,
    range_and_lowest_maximum,
    range_of,
    symmetric,
)
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.activations.softmax import most_steps, quantize_attention, quantize_scores
from mptq_export.quantize.certification.certify import activation_results, certify_activation
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import ActivationQuant


@dataclass(frozen=True, kw_only=True)
class ActivationSearch:
    """The quantizer of one site at any width; what all widths share is measured once.

    Attributes:
        graph: the graph with all transforms so far.
        site: any site.
        value: float32, what the quantized model gives there, all calibration images.
        known: the quantizers of all sites before this one, by key.
        method: which techniques are used.
        importance: float64 [rows], how much the rows of the linear layer that reads the value count; None where there
            is none, or they count alike.
        values: what the quantized model gives, of all images, by name: all that the site's node reads among them.
    """

    graph: Graph
    site: Site
    value: Value
    known: dict[str, ActivationQuant]
    method: Method
    importance: torch.Tensor | None
    values: Mapping[str, Value] = field(default_factory=dict)

    @cached_property
    def range(self) -> Range:
        """Smallest and largest value."""
        return self._scores[0] if self.site.kind == SiteKind.SCORES else range_of(self.value)

    def at(self, bits: int) -> ActivationQuant:
        """Choose scale, zero point and levels.

        Args:
            bits: width of matmul operands; pixels, scores, and what activation functions read or give as floats keep 8.

        Raises:
            MptqError: a table cannot be certified.
        """
        graph, site, root = self.graph, self.site, self.graph.root(self.site.value)
        match site.kind:
            case SiteKind.PIXELS:
                return self._pixels()
            case SiteKind.SCORES:
                steps = most_steps(bits, levels=self.method.attention_levels)
                return quantize_scores(graph, site.node, *self._scores, steps)
            case SiteKind.ATTENTION:
                return quantize_attention(graph, site, self.known, bits, self._attention_rows)
            case SiteKind.ACTIVATION:
                quant = self._argument()
                return self._certified(root, quant) if isinstance(root.op, Activation) else quant
            case SiteKind.MATMUL if isinstance(root.op, Linear):  # q, k and v
                if self.method.attention_ranges and self._attention is not None:
                    return self._by_attention(self._attention, bits)
                if self.method.ranges_by_error:
                    return best_symmetric(self._histogram, bits)
                return symmetric(self.range.magnitude, bits)
        if isinstance(root.op, Activation):
            return self._after_activation(root, bits)
        if isinstance(root.op, Relu) and self._weight is not None and self._may_have_regions(root):
            return self._after_relu(bits)
        if self._weight is None or not self.method.ranges_by_error:
            return affine(self.range, bits)
        return best_affine(self._sample, self.range, bits, self._weight)

    @cached_property
    def _sample(self) -> Sample:
        return Sample.of(self._held, self.importance)

    @cached_property
    def _weight(self) -> torch.Tensor | None:
        return reading_weights(self.graph, self.site.value)

    @cached_property
    def _attention(self) -> AttentionSample | None:
        return AttentionSample.of(self.graph, self.site.node, self.values)

    def _by_attention(self, sample: AttentionSample, bits: int) -> ActivationQuant:
        """The symmetric range of queries, keys or values with the smallest error of the attention."""
        key, magnitude = self.site.key, self.range.magnitude
        position = 0 if key.endswith(".a") else 1
        other = self.known.get(f"{self.site.node.name}.a") if position and not sample.behind_softmax else None
        candidates = [symmetric(magnitude * share, bits, BY_ATTENTION) for share in FINE_SHARES]
        return best_range(sample.operands[position], candidates, sample.error_of(position, other))

    @cached_property
    def _attention_rows(self) -> torch.Tensor | None:
        """Some rows of what a softmax gives before its division, where the levels of its codes are searched."""
        return drawn_rows(next(parts_of(self.value))) if self.method.attention_levels else None

    @cached_property
    def _histogram(self) -> Histogram:
        return Histogram.of(self._held)

    @cached_property
    def _read_histogram(self) -> Histogram:
        """Values count as much as their errors change the output of what reads them."""
        columns = None if self._weight is None else self._weight.double().square().sum(0)
        return Histogram.of(self._held, columns, self.importance)

    @cached_property
    def _scores(self) -> tuple[Range, float]:
        """The range of scores, and the smallest maximum of a row."""
        return range_and_lowest_maximum(self.value)

    @cached_property
    def _held(self) -> torch.Tensor:
        """The value, all of it at once."""
        return whole(self.value)

    def _pixels(self) -> ActivationQuant:
        if isinstance(self.graph[self.site.value].op, ToPixels):
            reason = "the 256 values of a pixel; normalisation is folded into the weights"
            return ActivationQuant(1.0, 0, 0, 255, 8, reason)
        return affine(self.range, 8)

    def _argument(self) -> ActivationQuant:
        """The quantizer of an activation function's argument."""
        if not self.method.ranges_by_error:
            return affine(self.range, 8)
        node = self.site.node
        readers = reading_weights(self.graph, node.name)
        columns = self._held.new_ones(1).double() if readers is None else readers.double().square().sum(0)
        return best_argument(self._sample, self.range, columns, node.attributes(Activation).function)

    def _after_activation(self, producer: Node, bits: int) -> ActivationQuant:
        """The quantizer of an activation function's result: OPT-m, where the method has it."""
        quant, method = affine(self.range, bits), self.method
        if self._weight is not None and (method.opt_m or method.ranges_by_error):
            results = activation_results(*self._argument_of(producer))
            quant = search_levels(self._read_histogram, self._sample, self._weight, results, bits, regions=method.opt_m)
        return self._certified(producer, quant)

    def _may_have_regions(self, relu: Node) -> bool:
        """Whether floats become the codes: a convolution gives codes itself, of one scale."""
        return self.method.opt_m and not isinstance(self.graph.root(relu.inputs[0]).op, Depthwise)

    def _after_relu(self, bits: int) -> ActivationQuant:
        """The quantizer of what a ReLU gives; its values are floats as they are, most of them 0."""
        assert self._weight is not None
        seen = self._read_histogram
        values = np.append(0.0, seen.values[1:])
        return search_levels(seen, self._sample, self._weight, values, bits, regions=True, negative=False)

    def _certified(self, producer: Node, quant: ActivationQuant) -> ActivationQuant:
        source, function = self._argument_of(producer)
        return certify_activation(self.site.key, source, quant, function)

    def _argument_of(self, producer: Node) -> tuple[ActivationQuant, Function]:
        return self.known[f"{producer.name}.input"], producer.attributes(Activation).function


def reading_weights(graph: Graph, value: str) -> torch.Tensor | None:
    """The weights of all linear layers that read a value, through movement that keeps its channels: [N, K]."""
    width = graph[value].shape.dims[-1]
    readers = [reader for reader, _ in graph.final_readers(value) or () if isinstance(reader.op, Linear)]
    found = [reader.params["weight"] for reader in readers if reader.params["weight"].shape[1] == width]
    return torch.cat(found) if found else None
