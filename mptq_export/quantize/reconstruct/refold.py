"""Graphs of recipes whose SQ-b was learned."""

from dataclasses import dataclass, replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.recipe.schema import Recipe, SqB
from mptq_export.transform.fold_sq_b import fold_sq_b


def refolded(graph: Graph, prepared: Graph, recipe: Recipe) -> Graph:
    """A graph with the layer norms of a recipe, bit for bit as a replay of the recipe folds them.

    Args:
        graph: with all transforms; only its layer norms change, for the weights that a file has are the recipe's.
        prepared: the same before SQ-b was folded.
        recipe: with the learned SQ-b.
    """
    changes = {name: fold_sq_b(prepared, prepared[name], sq_b)[name] for name, sq_b in recipe.sq_b.items()}
    return graph.updated(changes)


@dataclass(frozen=True)
class Folded:
    """A graph with SQ-b folded into it; with it the graphs of recipes that have another one.

    Attributes:
        graph: with all transforms.
        recipe: whose SQ-b was folded.
    """

    graph: Graph
    recipe: Recipe

    def of(self, recipe: Recipe) -> Graph:
        """The graph with the layer norms of another recipe, up to the last bits: the same ones whoever asks."""
        changed = {name: sq_b for name, sq_b in recipe.sq_b.items() if self.recipe.sq_b[name] is not sq_b}
        found = {name: _moved(self.graph[name], self.recipe.sq_b[name], sq_b) for name, sq_b in changed.items()}
        return self.graph.updated(found)


def _moved(norm: Node, old: SqB, new: SqB) -> Node:
    """A layer norm `(gamma / s, (beta - b) / s)` with other s and b."""
    gain, offset = norm.params["weight"], norm.params["bias"]
    s, b, t, c = (torch.from_numpy(part).to(gain.device) for part in (old.scale, old.shift, new.scale, new.shift))
    params = {"weight": gain.double() * (s / t), "bias": (offset.double() * s + b - c) / t}
    return replace(norm, params={name: value.to(gain.dtype) for name, value in params.items()})
