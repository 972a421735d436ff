"""What a search asks of the form of the file: what moves in it, quantizers of every width, and what widths cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.prices import Prices
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.graph import Graph
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import Form, Simulation
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import Recipe, WeightQuant
from mptq_export.support.processes.group import Group


class Catalogue(Protocol):
    """What the search composes candidates of.

    Attributes:
        weights: codes by (layer, bits).
    """

    weights: dict[tuple[str, int], WeightQuant]

    def simulator(self, graph: Graph) -> Simulation:
        """A simulator with the widest activations, and no weights yet."""
        ...

    def install(self, simulator: Simulation, widths: Widths, device: torch.device) -> Iterable[str]:
        """Give some layers of a simulator their widths; the names of the nodes that compute something else then."""
        ...

    def given(self, simulator: Simulation, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """Float32 inputs as the first node reads them, at any widths."""
        ...

    def simulated(self, graph: Graph, source: str, value: torch.Tensor) -> torch.Tensor:
        """A float value as the simulator's nodes expect it."""
        ...

    def places(self, graph: Graph, unit: Unit) -> list[str]:
        """Names of the nodes whose results have another error where a unit has another width, in graph order."""
        ...


@dataclass(frozen=True)
class Sizes:
    """Bytes of a file.

    Attributes:
        other: of all that is not weight codes.
        stored: of a layer's codes by (layer, bits), with what unpacks them.
    """

    other: float
    stored: Prices = field(default_factory=dict)


class SearchForm(Protocol):
    """One form of the file.

    Attributes:
        quantizing: as a walk sees it.
        timed: whether what files of it take in onnxruntime on this machine says something of where they run.
    """

    @property
    def quantizing(self) -> Form:
        """As a walk sees it."""
        ...

    @property
    def timed(self) -> bool:
        """Whether what files of it take in onnxruntime on this machine says something of where they run."""
        ...

    def fixed(self, graph: Graph, domain: WidthDomain) -> dict[str, int]:
        """Width of the activations of layers whose own does not move, whatever the domain has."""
        ...

    def operations(self, graph: Graph, domain: WidthDomain) -> BitOperations:
        """What widths cost in BOPs."""
        ...

    def middle(self, domain: WidthDomain) -> tuple[int, int]:
        """(weights, activations) that the transforms of all widths are chosen for."""
        ...

    def sizes(self, graph: Graph, recipe: Recipe, space: SearchSpace) -> Sizes:
        """Measure how large files are.

        Args:
            graph: prepared canonical graph with the recipe's transforms.
            recipe: with the transforms, and activations at `middle`.
            space: which widths there may be.
        """
        ...

    def sizes_of(self, sizes: Sizes, catalogue: Catalogue) -> Sizes:
        """The same with what the codes of a catalogue take, where that is not a matter of their width alone."""
        ...

    def collect(
        self, calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group | None = None
    ) -> Catalogue:
        """Choose all quantizers.

        Args:
            calibrated: the graph whose transforms stand, with the images that quantizers are chosen from.
            method: which techniques are used, without SQ-b and balanced attention: other transforms must not be asked
                for.
            space: the widths.
            group: processes that share the widths; None: this one alone.
        """
        ...

    def latency(self, graph: Graph, recipe: Recipe, catalogue: Catalogue, space: SearchSpace) -> LatencyTable:
        """What widths cost in time, measured on this machine; only where `timed`.

        Args:
            graph: prepared canonical graph with the recipe's transforms.
            recipe: any recipe of the graph.
            catalogue: quantizers of every width.
            space: which widths there may be.
        """
        ...
