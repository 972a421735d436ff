"""The quantizers of one site of the portable form, from the values that the quantized model gives there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.calibrate.statistics import Range
from mptq_export.capture import ops
from mptq_export.capture.graph import Graph
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import range_of
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.activations.search import reading_weights
from mptq_export.quantize.method import Method
from mptq_export.quantize.portable.ranges import (
    best_attention,
    best_by_histogram,
    best_by_output,
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
        importance: float64 [rows], how much the rows of the linear layer that reads the value count; None where there
            is none, or they count alike.
    """

    form: PortableForm
    graph: Graph
    site: Site
    value: torch.Tensor
    known: Mapping[str, ActivationQuant]
    method: Method
    importance: torch.Tensor | None

    @cached_property
    def range(self) -> Range:
        """Smallest and largest value that needs a code."""
        return self._scores or range_of(self.value)

    @cached_property
    def _scores(self) -> Range | None:
        """The range where the value is the argument of a softmax, or a part of it."""
        root = self.graph.root(self.site.value)
        if isinstance(root.op, ops.Constant):
            return constant_range(self.graph, root, self.value, self.known)
        return score_range(self.graph, root, self.value)

    def at(self, bits: int) -> ActivationQuant:
        """Choose scale and zero point.

        Args:
            bits: 8 or 16.
        """
        root = self.graph.root(self.site.value)
        if isinstance(root.op, ops.Softmax):
            if self.form.everywhere or not self.method.ranges_by_error or bits > 8:  # accelerators want 0 to 1
                return of_attention(self.form, bits)
            return best_attention(self.form, Histogram.of(self.value), bits)
        if isinstance(root.op, ops.ToPixels) and self.site.kind == SiteKind.TENSOR:
            return self._pixels()
        if not self.method.ranges_by_error or bits > 8 or self._given:
            return of_range(self.form, self.range, bits)
        if self._weight is not None:
            sample = Sample.of(self.value, self.importance)
            return best_by_output(self.form, sample, self.range, bits, self._weight)
        value = self.value if self._scores is None else self.value.clamp(self._scores.low, self._scores.high)
        return best_by_histogram(self.form, Histogram.of(value), bits)

    @property
    def _given(self) -> bool:
        """Whether the value is an output of the file, the image or a constant: nothing of it is cut."""
        op = self.graph.root(self.site.value).op
        given = self.graph.outputs.values()
        outputs = {self.graph.root(value).name for value in given}
        return isinstance(op, ops.Input | ops.Constant | ops.ToPixels) or self.site.value in outputs

    @cached_property
    def _weight(self) -> torch.Tensor | None:
        return reading_weights(self.graph, self.site.value)

    def _pixels(self) -> ActivationQuant:
        """Whole numbers from 0, or around 0 where codes are signed."""
        low = -self.form.middle_pixel
        return ActivationQuant(1.0, 0, low, low + 255, 8, _PIXELS)
