"""`kernels_ref` as the checks see it: what knows a file, and a function with its problems in one line."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray

from kernels_ref import Interpreter, InterpreterError, Kernel
from mptq_export.runtime.session import error_line
from mptq_export.support.errors import MptqError

Feed = dict[str, NDArray[Any]]


class ValueSource(Protocol):
    """What knows the values that a tensor can have: `kernels_ref.Interpreter`."""

    def every_value(self, name: str) -> NDArray[Any] | None:
        """All values of a tensor; None where they are not known."""


class Reference(ValueSource, Protocol):
    """What the runtime is compared with: `kernels_ref.Interpreter`, or a stand-in."""

    @property
    def kernels(self) -> Sequence[Kernel]:
        """What the file runs as there."""

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """Tensors of the runs so far that come without a claim of equal bits, with the reason."""

    def run(
        self,
        feeds: dict[str, NDArray[Any]],
        *,
        trace: Collection[str],
        observe: Callable[[str, NDArray[Any]], None] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """The graph's outputs and the tensors of these names; with `observe` these are handed on as they are made."""


def open_reference(path: Path) -> Callable[[Feed], dict[str, NDArray[Any]]]:
    """Read a file with `kernels_ref`.

    Args:
        path: the ONNX file.

    Returns:
        A function from the graph's inputs by name to its outputs by name; it raises `MptqError` where `kernels_ref`
        cannot compute them.

    Raises:
        MptqError: `kernels_ref` cannot read the file.
    """

    def refusal(error: InterpreterError) -> MptqError:
        return MptqError(f"kernels_ref cannot run {path}: {error_line(error)}")

    try:
        interpreter = Interpreter(path)
    except InterpreterError as error:
        raise refusal(error) from error

    def run(feed: Feed) -> dict[str, NDArray[Any]]:
        try:
            return interpreter.run(feed)
        except InterpreterError as error:
            raise refusal(error) from error

    return run


def kernels_of(model: onnx.ModelProto) -> Sequence[Kernel]:
    """What `kernels_ref` computes a file as: fused kernels and single ops, in graph order.

    Raises:
        MptqError: `kernels_ref` cannot read the file.
    """
    try:
        return Interpreter(model).kernels
    except InterpreterError as error:
        raise MptqError(f"kernels_ref cannot read the file: {error_line(error)}") from error
