"""The exact form, as a walk sees it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range, Statistics
from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.ranges import affine
from mptq_export.quantize.activations.search import ActivationSearch
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.residual_grid import grid_exponents
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import ActivationQuant, CodeForm, SqB


@dataclass(frozen=True)
class ExactForm:
    """Unsigned codes where matmuls read, residuals on power-of-two grids, certified functions."""

    weights: CodeForm = "pair_safe"

    def transformed(
        self, calibrated: CalibratedGraph, widths: WidthsOf, method: Method
    ) -> tuple[CalibratedGraph, dict[str, NDArray[np.float64]]]:
        """Nothing: every channel of the residual has the grid, and outliers cost little of it."""
        return calibrated, {}

    def exponents(self, graph: Graph, stats: Statistics) -> dict[str, int]:
        """As the protocol says."""
        return grid_exponents(graph, stats)

    def simulation(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf) -> Simulator:
        """As the protocol says."""
        return Simulator(graph, exponents, widths)

    @property
    def has_weight_regions(self) -> bool:
        """Yes: kernels read int8, whatever the levels are."""
        return True

    @property
    def one_scale(self) -> bool:
        """No: scales go into those of the channels."""
        return False

    def of_range(self, seen: Range, bits: int) -> ActivationQuant:
        """As the protocol says."""
        return affine(seen, bits)

    def stored(self, norm: Node, sq_b: SqB) -> SqB:
        """As the protocol says: they are floats."""
        return sq_b

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
    ) -> ActivationSearch:
        """As the protocol says."""
        return ActivationSearch(
            graph=graph, site=site, value=value, known=known, method=method, importance=importance, values=values
        )


EXACT = ExactForm()
