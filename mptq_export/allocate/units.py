"""What moves in the search: the weights of a layer, or the operands of a matmul, each with its own width."""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mptq_export.capture.calls import calls
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Matmul, PatchEmbed, Weighted
from mptq_export.capture.size import multiplications
from mptq_export.support.errors import MptqError

Widths = dict[str, tuple[int, int]]
"""(weights, activations) of every layer by name."""

Side = Literal["weights", "activations", "both"]
"""Which of a layer's two widths: `both` where they move together."""


@dataclass(frozen=True)
class Unit:
    """One thing that has a width.

    Attributes:
        layer: name of the linear layer, patch embedding or matmul; of its first call, where it has several.
        side: what of the layer has the width.
        parameters: how many weights it has; 0 for activations alone.
        macs: multiply-accumulates per image that read its activations; 0 for weights alone.
        other_calls: names of all further calls of the layer, which have the same width.
    """

    layer: str
    side: Side
    parameters: int
    macs: int
    other_calls: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Unique name."""
        return f"{self.layer}:{self.side}"

    @property
    def calls(self) -> tuple[str, ...]:
        """Names of all calls of its layer."""
        return (self.layer, *self.other_calls)

    def applied(self, widths: Widths, bits: int) -> Widths:
        """A copy of the widths in which this unit has another one."""
        return widths | self.given(widths, bits)

    def given(self, widths: Widths, bits: int) -> Widths:
        """The widths of all calls of its layer where this unit has another one."""
        return dict.fromkeys(self.calls, self.pair(widths, bits))

    def pair(self, widths: Widths, bits: int) -> tuple[int, int]:
        """(weights, activations) of its layer where this unit has another width."""
        weights, activations = widths[self.layer]
        return (bits if self.side != "activations" else weights, bits if self.side != "weights" else activations)

    def bits(self, widths: Widths) -> int:
        """The unit's width."""
        return widths[self.layer][1 if self.side == "activations" else 0]


def layers(graph: Graph) -> list[Node]:
    """Everything that has widths, in graph order."""
    return [node for node in graph if isinstance(node.op, Weighted | Matmul)]


def units(graph: Graph, *, tied: bool, pinned: Iterable[str] = (), fixed: Iterable[str] = ()) -> list[Unit]:
    """All units that may move.

    A patch embedding reads pixels, which have a width of their own, so that only its weights move; a matmul has only
    activations.

    Args:
        graph: prepared canonical graph.
        tied: weights and activations of a linear layer move together.
        pinned: layers that do not move.
        fixed: layers of which only the weights move: the form of the file says what width they run at.
    """
    found: list[Unit] = []
    still, weights_alone, called = set(pinned), set(fixed), calls(graph)
    for node in layers(graph):
        names = called.get(node.name, (node.name,))
        if node.name in still or node.name != names[0]:
            continue
        macs = sum(multiplications(graph, graph[name]) for name in names)
        parameters = node.params["weight"].numel() if "weight" in node.params else 0
        if isinstance(node.op, Matmul):
            found += [] if node.name in weights_alone else [Unit(node.name, "activations", 0, macs)]
        elif isinstance(node.op, PatchEmbed) or node.name in weights_alone:
            found.append(Unit(node.name, "weights", parameters, 0, names[1:]))
        elif tied:
            found.append(Unit(node.name, "both", parameters, macs, names[1:]))
        else:
            weights = Unit(node.name, "weights", parameters, 0, names[1:])
            found += [weights, Unit(node.name, "activations", 0, macs, names[1:])]
    return found


def weight_counts(graph: Graph) -> dict[str, int]:
    """How many weights every layer has that has some: one with several calls stands once, with its first."""
    called = calls(graph)
    nodes = (node for node in layers(graph) if "weight" in node.params)
    return {node.name: node.params["weight"].numel() for node in nodes if node.name == called[node.name][0]}


def pinned_widths(graph: Graph, pins: Mapping[str, tuple[int, int]]) -> Widths:
    """Widths of the layers that match a pattern of `--pin`; that of one call is that of all calls of its layer.

    Args:
        graph: prepared canonical graph.
        pins: (weights, activations) by shell pattern of layer names; later patterns win.

    Raises:
        MptqError: a pattern matches no layer.
    """
    names, called = [node.name for node in layers(graph)], calls(graph)
    found: Widths = {}
    for pattern, widths in pins.items():
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise MptqError(f"--pin {pattern} matches no layer; layers are named like {names[1]} or {names[-1]}")
        found.update((name, widths) for one in matched for name in called.get(one, (one,)))
    return found
