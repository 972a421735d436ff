"""`kernels_ref` as a function, with its problems in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kernels_ref import Interpreter, InterpreterError
from mptq_export.runtime.session import one_line
from mptq_export.support.errors import MptqError

Feed = dict[str, NDArray[Any]]


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
        return MptqError(f"kernels_ref cannot run {path}: {one_line(error)}")

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
