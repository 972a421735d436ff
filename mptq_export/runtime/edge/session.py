"""What every other runtime looks like from here: it opens a file, says what runs where, and runs it."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from mptq_export.support.errors import MptqError

RuntimeName = Literal["qnn", "openvino", "rknn", "tract"]
"""Runtimes that this program can run a file in, beside onnxruntime."""


class RefusedFileError(MptqError):
    """A runtime is there and does not take the file: a finding about the file, where a wrong option is not."""


@dataclass(frozen=True)
class PlacedOps:
    """Ops of one kind that run in one way, as the runtime's own record says it.

    Attributes:
        op: its name there.
        where: what runs it: `HTP`, `NPU`, `CPU`.
        numbers: what it computes in, such as `INT8` or `FP16`; empty where the record does not say.
        count: how many.
        accelerated: whether it runs where it is meant to; a node that is left to the host's CPU does not.
        integer: whether it computes in integers, or moves codes only; None where the record does not say.
    """

    op: str
    where: str
    numbers: str
    count: int
    accelerated: bool
    integer: bool | None


@dataclass(frozen=True)
class Placement:
    """Where everything of a file runs.

    Attributes:
        ops: all of it.
        source: which record of the runtime says so, for people.
    """

    ops: tuple[PlacedOps, ...]
    source: str

    @property
    def left(self) -> tuple[PlacedOps, ...]:
        """What is left to the host's CPU; nothing where the file is whole."""
        return tuple(placed for placed in self.ops if not placed.accelerated)

    @property
    def floating(self) -> tuple[PlacedOps, ...]:
        """What computes in floats."""
        return tuple(placed for placed in self.ops if placed.integer is False)


class EdgeSession(Protocol):
    """A file that is open in another runtime.

    Attributes:
        name: the runtime.
        version: of the runtime, for people.
        device: what ran it, such as `HTP simulator`.
        placement: where everything of the file runs.
    """

    name: RuntimeName
    version: str
    device: str
    placement: Placement

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by their names for one batch, as the file declares its input.

        Raises:
            MptqError: the runtime fails.
        """
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...
