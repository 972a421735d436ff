"""The interface of an op: what the interpreter hands to it and what it hands back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

#: `op(inputs, attributes)` returns the node's outputs in order. An omitted optional input is None. Attributes are plain
#: Python values (ints, floats, strings, lists; NumPy arrays for tensors), and the key "n_outputs" says how many outputs
#: the node names. An op raises `kernels_ref.errors.InterpreterError` on input that it cannot compute.
Op = Callable[[Sequence[Array | None], Mapping[str, Any]], tuple[Array, ...]]
