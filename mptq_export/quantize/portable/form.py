"""The portable form, as a walk sees it."""

from dataclasses import dataclass

import torch

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.portable.search import PortableSearch
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.recipe.schema import ActivationQuant, CodeForm
from mptq_export.targets.portable import PortableForm


@dataclass(frozen=True)
class Portable:
    """The portable form of one runtime.

    Attributes:
        form: how its files are written.
        residual: width of the residual.
    """

    form: PortableForm
    residual: int

    @property
    def weights(self) -> CodeForm:
        """As the protocol says."""
        return self.form.weights

    def sites(self, graph: Graph, widths: WidthsOf) -> PortableSites:
        """Where a graph has codes."""
        return PortableSites(graph, self.form, widths, self.residual)

    def exponents(self, graph: Graph, stats: Statistics) -> dict[str, int]:
        """None: scales of any value, and sums that round."""
        return {}

    def simulation(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf) -> PortableSimulator:
        """As the protocol says; there are no grids."""
        return PortableSimulator(self.sites(graph, widths))

    def search(
        self,
        *,
        graph: Graph,
        site: Site,
        value: torch.Tensor,
        known: dict[str, ActivationQuant],
        method: Method,
        importance: torch.Tensor | None,
    ) -> PortableSearch:
        """As the protocol says; a quantizer depends on no other one."""
        return PortableSearch(
            form=self.form, graph=graph, site=site, value=value, known=known, method=method, importance=importance
        )
