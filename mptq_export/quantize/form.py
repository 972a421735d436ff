"""What a walk asks of the form of the file that it chooses quantizers for: what is computed, and what can be chosen."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range, Statistics
from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import ActivationQuant, CodeForm, SqB, WeightQuant

WidthsOf = Callable[[str], tuple[int, int]]
"""(weights, activations) of a layer, by the name of its node: linear layers, patch embeddings and matmuls."""


class Simulation(Protocol):
    """The quantized model, as a file of the form computes it.

    Attributes:
        sites: the sites of every node, by its name.
        results: the site of every node whose own result is quantized, by its name.
        activations: quantizers by site key; they grow while a recipe is built.
        weights: codes [N, K], scales [N] and bias [N] of every layer with weights, float32, by node name.
    """

    sites: dict[str, list[Site]]
    results: dict[str, Site]
    activations: dict[str, ActivationQuant]
    weights: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

    def set_weight(self, name: str, quant: WeightQuant, device: torch.device) -> None:
        """Use the codes of one layer."""
        ...

    def input_quant(self, node: Node) -> ActivationQuant:
        """The quantizer of what a layer reads."""
        ...

    def compute(self, node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The quantized value of a node; results are quantized as soon as their quantizer is known."""
        ...

    def logits(self, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """Output of the quantized model for a float32 batch in the layout of the graph's input."""
        ...

    def width(self, graph: Graph, site: Site) -> int:
        """Bits that a site is asked to have."""
        ...


class SiteSearch(Protocol):
    """The quantizers of one site."""

    @property
    def range(self) -> Range:
        """Smallest and largest value there."""
        ...

    def at(self, bits: int) -> ActivationQuant:
        """The quantizer at a width.

        Raises:
            MptqError: there is none in this form.
        """
        ...


class Form(Protocol):
    """One form of the file.

    Attributes:
        weights: which weight codes of 8 bits there may be.
    """

    @property
    def weights(self) -> CodeForm:
        """Which weight codes of 8 bits there may be."""
        ...

    @property
    def has_weight_regions(self) -> bool:
        """Whether weights may have levels that are not evenly spaced, and outliers (`Method.weight_regions`)."""
        ...

    def transformed(
        self, calibrated: CalibratedGraph, widths: WidthsOf, method: Method
    ) -> tuple[CalibratedGraph, dict[str, NDArray[np.float64]]]:
        """The transforms of the whole graph that a method wants for this form.

        Args:
            calibrated: what is quantized, prepared for the form.
            widths: of every layer.
            method: which techniques are used.

        Returns:
            The same with the graph that is walked, and the rotations of its residual, as `Recipe.rotations`.
        """
        ...

    def exponents(self, graph: Graph, stats: Statistics) -> dict[str, int]:
        """Grids of the residual streams, from calibration statistics; a form without any has none."""
        ...

    def simulation(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf) -> Simulation:
        """The quantized model before anything is chosen.

        Args:
            graph: prepared for the form.
            exponents: grids of the residual; a form without any ignores them.
            widths: of every layer.
        """
        ...

    @property
    def one_scale(self) -> bool:
        """Whether all channels that a layer gives have one scale."""
        ...

    def of_range(self, seen: Range, bits: int) -> ActivationQuant:
        """The quantizer of a range of what a layer norm gives."""
        ...

    def stored(self, norm: Node, sq_b: SqB) -> SqB:
        """SQ-b next to one that was found, for which the norm's gain and offset are stored without an error."""
        ...

    def search(
        self,
        *,
        graph: Graph,
        site: Site,
        value: Value,
        known: dict[str, ActivationQuant],
        method: Method,
        importance: torch.Tensor | None,
        layers: dict[str, torch.Tensor],
        values: Mapping[str, Value],
    ) -> SiteSearch:
        """What finds the quantizers of a site.

        Args:
            graph: the graph with all transforms so far.
            site: the site.
            value: float32, what the quantized model gives there, all images.
            known: the quantizers of all sites before this one, by key.
            method: which techniques are used.
            importance: float64 [rows], how much the rows of the layer that reads the value count; None: all alike.
            layers: the same of every layer, by its name; empty: all alike.
            values: what the quantized model gives, of all images, by name: all that a node still reads.
        """
        ...
