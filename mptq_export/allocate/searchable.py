"""What a search asks of what it solves."""

from typing import Protocol

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.expected import SearchWork
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Widths


class Problem(Protocol):
    """What is solved: of one model (`AllocationProblem`), or of several under one budget (`PartsProblem`)."""

    settings: SearchRequest
    form: SearchForm
    space: SearchSpace

    @property
    def costs(self) -> Costs:
        """What widths cost in bits and bytes."""
        ...

    @property
    def identity(self) -> str:
        """What a journal belongs to."""
        ...

    @property
    def table(self) -> SensitivityTable:
        """Estimated divergence of every unit and width."""
        ...

    @property
    def unit(self) -> float:
        """How far the true objective rises where the distances rise by 1 that it is estimated with."""
        ...

    @property
    def costs_of_codes(self) -> Costs:
        """`costs` with what the codes of the catalogue really take."""
        ...

    def divergences(self, widths: Widths) -> list[float]:
        """The true objective of every image, or one number for all."""
        ...

    @property
    def work(self) -> tuple[SearchWork, ...]:
        """What decides how long it takes, of each model."""
        ...

    def measure_latency(self) -> LatencyTable:
        """What widths cost in time, here and now."""
        ...
