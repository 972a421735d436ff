"""What depends on initializers only: computed at most once, when it is first asked for."""

from collections.abc import Callable

from kernels_ref.model import Graph, Node
from kernels_ref.ops.types import Array

Evaluate = Callable[[Node, list[Array | None]], tuple[Array, ...]]


class Constants:
    """The constant tensors of a graph.

    Args:
        graph: a checked graph.
        evaluate: computes one node.
    """

    def __init__(self, graph: Graph, evaluate: Evaluate) -> None:
        self._values = dict(graph.initializers)
        self._evaluate = evaluate
        self._producers: dict[str, Node] = {}
        for node in graph.nodes:
            if all(not name or name in self for name in node.inputs):
                self._producers.update((name, node) for name in node.outputs if name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._producers

    @property
    def computed(self) -> tuple[str, ...]:
        """Names of the constant tensors that nodes make."""
        return tuple(self._producers)

    def __getitem__(self, name: str) -> Array:
        """The value of a constant tensor.

        Raises:
            InterpreterError: an op refuses its inputs.
        """
        if name not in self._values:
            node = self._producers[name]
            outputs = self._evaluate(node, [self[source] if source else None for source in node.inputs])
            self._values.update((output, value) for output, value in zip(node.outputs, outputs, strict=False) if output)
        return self._values[name]
