"""SQ-b folded into a graph: the same function, and only where nothing else reads the layer norm."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Input, LayerNorm, Linear, Mean, Permute, Roll, Slice
from mptq_export.recipe.schema import SqB
from mptq_export.transform.fold_sq_b import fold_sq_b, sq_b_readers

TOLERANCE = 1e-5


def norms(kind: str) -> list[Node]:
    graph = prepared(kind)
    return [node for node in graph if isinstance(node.op, LayerNorm) and sq_b_readers(graph, node)]


def smoothing(width: int, seed: int = 0) -> SqB:
    rng = np.random.default_rng(seed)
    return SqB(rng.normal(0, 0.5, width), np.exp(rng.normal(0, 0.7, width)), 0.5)


def small(*readers: Node, output: str) -> Graph:
    """A layer norm of [tokens, 8] and what reads it."""
    generator = torch.Generator().manual_seed(0)
    params = {"weight": torch.rand(8, generator=generator) + 0.5, "bias": torch.randn(8, generator=generator)}
    start = Node(Input(), "input", (), Shape((1, 4, 8)))
    norm = Node(LayerNorm(eps=1e-6), "norm", ("input",), Shape((1, 4, 8)), params)
    return Graph([start, norm, *readers], output)


def linear(name: str, source: str, keys: int = 8, tokens: int = 4) -> Node:
    generator = torch.Generator().manual_seed(len(name))
    params = {"weight": torch.randn(5, keys, generator=generator), "bias": torch.randn(5, generator=generator)}
    return Node(Linear(), name, (source,), Shape((1, tokens, 5)), params)


def same(graph: Graph, other: Graph, x: torch.Tensor) -> bool:
    with torch.no_grad():
        found, expected = evaluate(other, x), evaluate(graph, x)
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_the_same_and_the_readers_see_scaled_rows(kind: str):
    graph, x = prepared(kind), images(kind, 4, seed=8)
    assert norms(kind)
    for i, norm in enumerate(norms(kind)):
        choice = smoothing(norm.shape.dims[-1], i)
        changed = fold_sq_b(graph, norm, choice)
        assert same(graph, changed, x), norm.name
        before: dict[str, torch.Tensor] = {}
        after: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            evaluate(graph, x, lambda n, v, kept=before: kept.update({n.name: v}))
            evaluate(changed, x, lambda n, v, kept=after: kept.update({n.name: v}))
        shift, scale = (torch.from_numpy(part).float() for part in (choice.shift, choice.scale))
        wanted = (before[norm.name] - shift) / scale
        assert (after[norm.name] - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_all_norms_together_keep_the_function(kind: str):
    graph = prepared(kind)
    for i, norm in enumerate(norms(kind)):
        graph = fold_sq_b(graph, graph[norm.name], smoothing(norm.shape.dims[-1], i))
    assert same(prepared(kind), graph, images(kind, 4, seed=8))


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_nothing_but_the_norm_and_its_readers_is_changed(kind: str):
    graph = prepared(kind)
    norm = norms(kind)[0]
    changed = fold_sq_b(graph, norm, smoothing(norm.shape.dims[-1]))
    touched = {norm.name, *(reader.name for reader in sq_b_readers(graph, norm))}
    for node in graph:
        assert (changed[node.name] is node) == (node.name not in touched)


def test_in_a_vit_every_norm_can_be_smoothed():
    graph = prepared("vit")
    readers = {n.name: [r.name for r in sq_b_readers(graph, n)] for n in graph if isinstance(n.op, LayerNorm)}
    assert readers["blocks.0.norm1"] == ["blocks.0.attn.qkv"]
    assert readers["blocks.0.norm2"] == ["blocks.0.mlp.fc1"]
    assert readers["norm"] == ["head"]


def test_in_swin_a_norm_that_writes_the_residual_cannot():
    graph = prepared("swin")
    alone = {n.name for n in graph if isinstance(n.op, LayerNorm) and not sq_b_readers(graph, n)}
    readers = graph.consumers()
    adders = {
        n.name for n in graph if isinstance(n.op, LayerNorm) and any(isinstance(r.op, Add) for r in readers[n.name])
    }
    assert adders
    assert adders <= alone


def test_all_readers_are_found_through_movement_of_tokens():
    cut = Node(Slice(axis=1, start=0, end=2), "cut", ("norm",), Shape((1, 2, 8)))
    graph = small(linear("first", "norm"), cut, linear("other", "cut", tokens=2), output="other")
    assert {node.name for node in sq_b_readers(graph, graph["norm"])} == {"first", "other"}
    changed = fold_sq_b(graph, graph["norm"], smoothing(8))
    x = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    for output in ("first", "other"):
        assert same(Graph(graph, output), Graph(changed, output), x)


REFUSALS: dict[str, Graph] = {
    "an addition": small(
        linear("first", "norm"), Node(Add(), "sum", ("input", "norm"), Shape((1, 4, 8))), output="sum"
    ),
    "the output": small(linear("first", "norm"), output="norm"),
    "the output behind movement": small(
        linear("first", "norm"),
        Node(Slice(axis=1, start=0, end=1), "cut", ("norm",), Shape((1, 1, 8))),
        output="cut",
    ),
    "a mean": small(
        linear("first", "norm"),
        Node(Mean(axes=(1,), keepdim=False), "mean", ("norm",), Shape((1, 8))),
        output="mean",
    ),
    "channels in another order": small(
        Node(Roll(shifts=(1,), axes=(2,)), "rolled", ("norm",), Shape((1, 4, 8))),
        linear("first", "rolled"),
        output="first",
    ),
    "some of the channels": small(
        Node(Slice(axis=2, start=0, end=4), "cut", ("norm",), Shape((1, 4, 4))),
        linear("first", "cut", keys=4),
        output="first",
    ),
    "tokens as channels": small(
        Node(Permute(perm=(0, 2, 1)), "turned", ("norm",), Shape((1, 8, 4))),
        linear("first", "turned", keys=4, tokens=8),
        output="first",
    ),
}


@pytest.mark.parametrize("reads", REFUSALS)
def test_where_anything_else_is_read_there_are_no_readers(reads: str):
    assert sq_b_readers(REFUSALS[reads], REFUSALS[reads]["norm"]) == []
