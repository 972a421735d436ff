"""The quantizers of one site of the portable form, from the values that the quantized model gives there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.calibrate.statistics import Range
from mptq_export.capture import ops
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.deferred import Value, whole
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import range_of
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.activations.search import reading_weights
from mptq_export.quantize.method import Method
from mptq_export.quantize.portable.importance import Importance, importance_of, read_importance
from mptq_export.quantize.portable.ranges import (
    best_attention,
    best_by_histogram,
    best_by_output,
    best_by_result,
    of_attention,
    of_range,
)
from mptq_export.quantize.portable.scores import constant_range, score_range
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.targets.portable import PortableForm

#: What a pixel is, less the offset that `transform/pixel_input.py` gives it.
_PIXELS = "the 256 values of a pixel; normalisation is folded into the weights"


@dataclass(frozen=True, kw_only=True)
class PortableSearch:
    """The quantizer of one site at any width; what all widths share is measured once.

    Attributes:
        form: the form of the file.
        graph: the graph with all transforms so far.
        site: any site.
        value: float32, what the quantized model gives there, all calibration images.
        known: the quantizers of all sites before this one, by key.
        method: which techniques are used.
        layers: how much the rows of every layer count, by its name; empty where they count alike.
    """

    form: PortableForm
    graph: Graph
    site: Site
    value: Value
    known: Mapping[str, ActivationQuant]
    method: Method
    layers: Importance

    @cached_property
    def range(self) -> Range:
        """Smallest and largest value that needs a code."""
        return self._scores or range_of(self.value)

    @cached_property
    def _scores(self) -> Range | None:
        """The range where the value is the argument of a softmax, or a part of it."""
        root = self.graph.root(self.site.value)
        if isinstance(root.op, ops.Constant):
            return constant_range(self.graph, root, self._held, self.known)
        return score_range(self.graph, root, self.value)

    @cached_property
    def _held(self) -> torch.Tensor:
        """The value, all of it at once."""
        return whole(self.value)

    def at(self, bits: int) -> ActivationQuant:
        """Choose scale and zero point.

        Args:
            bits: 8 or 16.
        """
        root = self.graph.root(self.site.value)
        by_error = self.method.ranges_by_error and bits <= 8
        if isinstance(root.op, ops.Softmax):
            searched = by_error and self.form.attention_searched
            return best_attention(self.form, self._histogram, bits) if searched else of_attention(self.form, bits)
        if isinstance(root.op, ops.ToPixels) and self.site.kind == SiteKind.TENSOR:
            return self._pixels()
        if not by_error or self._given:
            return of_range(self.form, self.range, bits)
        return self._by_error(bits)

    def _by_error(self, bits: int) -> ActivationQuant:
        """By the error of what reads the value, where that is one kind of op; else by that of the value itself."""
        readers = [reader for reader, _ in self.graph.final_readers(self.site.value) or ()]
        if self.site.kind != SiteKind.TENSOR:
            readers = [self.site.node]
        weight = reading_weights(self.graph, self.site.value)
        if readers and weight is not None and all(isinstance(reader.op, ops.Linear) for reader in readers):
            sample = Sample.of(self._held, read_importance(self.graph, self.site.value, self.layers))
            return best_by_output(self.form, sample, self.range, bits, weight)
        if self._scores is not None:
            sample, ones = Sample.of(self._held), self._held.new_ones(1).double()
            return best_by_result(
                self.form, sample, self.range, bits, function=lambda rows: rows.softmax(-1), columns=ones
            )
        if len(readers) == 1 and isinstance(readers[0].op, ops.Activation):
            return self._argument(readers[0], bits)
        return best_by_histogram(self.form, self._histogram, bits)

    def _argument(self, function: Node, bits: int) -> ActivationQuant:
        """The quantizer of an activation function's argument."""
        sample = Sample.of(self._held, read_importance(self.graph, function.name, self.layers))
        weight = reading_weights(self.graph, function.name)
        columns = self._held.new_ones(1).double() if weight is None else weight.double().square().sum(0)
        compute = FUNCTIONS[function.attributes(ops.Activation).function].compute
        return best_by_result(self.form, sample, self.range, bits, function=compute, columns=columns)

    @cached_property
    def _histogram(self) -> Histogram:
        importance = importance_of(self.graph, self.site.value, self.layers)
        rows = self._held.numel() // self._held.shape[-1]
        return Histogram.of(
            self._held, importance=importance if importance is not None and len(importance) == rows else None
        )

    @property
    def _given(self) -> bool:
        """Whether the value is an output of the file, the image or a constant: nothing of it is cut."""
        op = self.graph.root(self.site.value).op
        given = self.graph.outputs.values()
        outputs = {self.graph.root(value).name for value in given}
        return isinstance(op, ops.Input | ops.Constant | ops.ToPixels) or self.site.value in outputs

    def _pixels(self) -> ActivationQuant:
        """Whole numbers from 0, or around 0 where codes are signed."""
        low = -self.form.middle_pixel
        return ActivationQuant(1.0, 0, low, low + 255, 8, _PIXELS)
