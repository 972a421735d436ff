"""From which tensors of a model every constant of a graph was computed: noted while it is computed.

A dispatch mode sees each operation on real tensors, views and changes in place included. What an operation gives comes
from whatever its operands came from, so a constant may be said to come from more than it needs, never from less.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mptq_export.capture.graph import Graph


class Origins(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """Notes origins while it is entered.

    Args:
        state: the model's tensors by name; those that share memory are one tensor under several names.
    """

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names: dict[int, frozenset[str]] = {}
        self._held: list[torch.Tensor] = []  # memory that is given back could be another tensor's next
        for name, tensor in state.items():
            self._add(tensor, frozenset({name}))

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note where its results come from."""
        result = func(*args, **(kwargs or {}))
        given = [*_tensors(args), *_tensors(kwargs or {})]
        names = frozenset[str]().union(*map(self.of, given))
        if names:
            changed = given[:1] if func._schema.is_mutable else []
            for tensor in (*_tensors(result), *changed):
                self._add(tensor, names)
        return result

    def of(self, tensor: torch.Tensor) -> frozenset[str]:
        """Names of the tensors that one was computed from."""
        return self._names.get(_place(tensor), frozenset())

    def of_graph(self, graph: Graph) -> dict[str, frozenset[str]]:
        """The same for every constant of a graph, by `NODE.PARAMETER`."""
        return {f"{node.name}.{name}": self.of(value) for node in graph for name, value in node.params.items()}

    def _add(self, tensor: torch.Tensor, names: frozenset[str]) -> None:
        place = _place(tensor)
        if place not in self._names:
            self._held.append(tensor.detach())
        self._names[place] = self._names.get(place, frozenset()) | names


def _place(tensor: torch.Tensor) -> int:
    """What tensors that share memory have in common."""
    return tensor.untyped_storage().data_ptr()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in what an operation takes or gives."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (tensor for each in value.values() for tensor in _tensors(each))
    elif isinstance(value, list | tuple):
        yield from (tensor for each in value for tensor in _tensors(each))
