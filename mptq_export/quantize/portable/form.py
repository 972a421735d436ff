"""The portable form, as a walk sees it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range, Statistics
from mptq_export.capture import ops
from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.method import MINMAX, Method
from mptq_export.quantize.portable.ranges import of_range
from mptq_export.quantize.portable.rotation import rotated, rotations
from mptq_export.quantize.portable.search import PortableSearch
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.portable.stored_norm import exactly_stored
from mptq_export.quantize.walk.walk import Walk
from mptq_export.recipe.schema import ActivationQuant, CodeForm, SqB
from mptq_export.targets.portable import PortableForm

#: Images that are simulated at once.
_BATCH = 8


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

    @property
    def has_weight_regions(self) -> bool:
        """No: accelerators take codes of a width, every whole number of which is one step further."""
        return False

    def sites(self, graph: Graph, widths: WidthsOf) -> PortableSites:
        """Where a graph has codes."""
        return PortableSites(graph, self.form, widths, self.residual)

    def transformed(
        self, calibrated: CalibratedGraph, widths: WidthsOf, method: Method
    ) -> tuple[CalibratedGraph, dict[str, NDArray[np.float64]]]:
        """Rotations of the residual, where it has codes, the method has them and they pay.

        They leave norms without gains, and OpenVINO quantizes what a norm without gains gives in a kernel of its own.
        """
        if not method.rotated_residual or not self.form.everywhere:
            return calibrated, {}

        def quantized(some: CalibratedGraph, images: torch.Tensor) -> torch.Tensor:
            graph, recipe = Walk(some, widths, MINMAX, form=self).build_recipe()
            simulator = PortableSimulator.of(self.sites(graph, widths), recipe, images.device)
            simulator.activations = {
                key: quant for key, quant in simulator.activations.items() if not _within_branch(graph, key)
            }
            return torch.cat([simulator.logits(graph, batch) for batch in torch.split(images, _BATCH)])

        turns = rotations(calibrated, quantized)
        graph = rotated(calibrated.graph, turns)
        return calibrated.of_graph(graph), {name: turn.numpy() for name, turn in turns.items()}

    def exponents(self, graph: Graph, stats: Statistics) -> dict[str, int]:
        """None: scales of any value, and sums that round."""
        return {}

    def simulation(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf) -> PortableSimulator:
        """As the protocol says; there are no grids."""
        return PortableSimulator(self.sites(graph, widths))

    @property
    def one_scale(self) -> bool:
        """Yes."""
        return True

    def of_range(self, seen: Range, bits: int) -> ActivationQuant:
        """As the protocol says."""
        return of_range(self.form, seen, bits)

    def stored(self, norm: Node, sq_b: SqB) -> SqB:
        """As the protocol says."""
        return exactly_stored(self.form, norm, sq_b)

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
    ) -> PortableSearch:
        """As the protocol says; a quantizer depends on no other one."""
        return PortableSearch(
            form=self.form, graph=graph, site=site, value=value, known=known, method=method, layers=layers
        )


def _within_branch(graph: Graph, key: str) -> bool:
    """Whether a site is of a value that a rotation of the residual does not change: its error would hide what does."""
    node = graph[key.rpartition(".")[0]]
    return isinstance(node.op, ops.Matmul | ops.Softmax | ops.Activation)
