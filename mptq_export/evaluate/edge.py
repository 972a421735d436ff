"""A file in another runtime as a function from pixels to its outputs, one image at a time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.outputs import Values
from mptq_export.runtime.edge.session import EdgeSession, Placement
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.runtime.pixels import Normalize, Pixels, to_graph_input
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json


@dataclass(frozen=True)
class RanIn:
    """The runtime that an evaluation ran in.

    Attributes:
        runtime: its name.
        version: of it.
        device: what ran the file.
        placement: where everything of the file runs.
        seconds: for one image, on average over those that were run; None where all were known.
    """

    runtime: str
    version: str
    device: str
    placement: Placement
    seconds: float | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must see: the accuracy is not that of a file that runs there whole and in integers."""
        told = []
        for placed, what in ((self.placement.left, "left to the CPU"), (self.placement.floating, "computed in floats")):
            if placed:
                listed = ", ".join(f"{ops.count} {ops.op}" for ops in placed)
                told.append(f"on the {self.device} {listed} are {what}; mptq-verify --runtime {self.runtime} says more")
        return tuple(told)

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return asdict(self)


class Elsewhere:
    """A file in another runtime as a function from pixels, one image at a time."""

    def __init__(self, session: EdgeSession, spec: GraphInput, names: Sequence[str], normalize: Normalize) -> None:
        """Nothing is run yet.

        Args:
            session: of the file.
            spec: the file's input.
            names: of the outputs that are wanted.
            normalize: the normalisation that belongs to the file.
        """
        self._session, self._spec, self._names, self._normalize = session, spec, list(names), normalize
        self._seconds, self._images = 0.0, 0

    def predict(self, pixels: Pixels) -> Values:
        """Outputs for pixels.

        Raises:
            MptqError: the runtime fails, or lacks an output.
        """
        rows = [self._row(to_graph_input(image[None], self._spec, self._normalize)) for image in pixels]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def _row(self, x: NDArray[Any]) -> Values:
        start = perf_counter()
        found = self._session.run(x)
        self._seconds += perf_counter() - start
        self._images += 1
        missing = sorted(set(self._names) - set(found))
        if missing:
            raise MptqError(f"the {self._session.device} gives no output {missing[0]}, which the file's metadata names")
        return [found[name] for name in self._names]

    def ran_in(self) -> RanIn:
        """What it ran in, so far."""
        session = self._session
        seconds = self._seconds / self._images if self._images else None
        return RanIn(session.name, session.version, session.device, session.placement, seconds)
