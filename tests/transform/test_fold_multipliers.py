"""Constant factors go into weights and scores, where something can absorb them."""

import pytest
import torch
from tiny_models import KINDS, captured, prepared, tiny

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Input, LayerNorm, Linear, Matmul, Mul, Permute
from mptq_export.transform.fold_multipliers import fold_multipliers

from .graphs import chain, ops, same


def test_layer_scale_goes_into_the_projections():
    graph, model = fold_multipliers(captured("dinov2")), tiny("dinov2")
    assert ops(captured("dinov2"), Mul)
    assert not ops(graph, Mul)
    block = model.blocks[0]
    assert torch.allclose(
        graph["blocks.0.attn.proj"].params["weight"], block.attn.proj.weight * block.ls1.gamma[:, None]
    )
    assert torch.allclose(graph["blocks.0.mlp.fc2"].params["bias"], block.mlp.fc2.bias * block.ls2.gamma)


@pytest.mark.parametrize("kind", KINDS)
def test_no_product_is_left(kind: str):
    assert not ops(prepared(kind), Mul)


def test_a_scale_of_q_becomes_a_factor_of_the_scores():
    x, wide = Node(Input(), "input", (), Shape((1, 4, 8))), Shape((1, 4, 4))
    q = Node(Mul(), "q", ("input",), Shape((1, 4, 8)), {"value": torch.tensor(0.25)})
    k = Node(Permute(perm=(0, 2, 1)), "k", ("input",), Shape((1, 8, 4)))
    graph = Graph([x, q, k, Node(Matmul(alpha=2.0), "s", ("q", "k"), wide)], "s")
    folded = fold_multipliers(graph)
    assert folded["s"].op == Matmul(0.5)
    assert not ops(folded, Mul)
    images = torch.randn(2, 4, 8)
    assert same(evaluate(folded, images), evaluate(graph, images))


@pytest.mark.parametrize("value", [torch.tensor(3.0), torch.arange(8.0)])
def test_a_product_that_nothing_can_absorb_stays(value: torch.Tensor):
    graph = chain(
        (LayerNorm(1e-6), (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8)}),
        (Mul(), (1, 6, 8), {"value": value}),
    )
    assert ops(fold_multipliers(graph), Mul)


def test_a_linear_that_something_else_reads_is_not_scaled():
    weights = {"weight": torch.randn(8, 8), "bias": torch.randn(8)}
    graph = chain((Linear(), (1, 6, 8), weights), (Mul(), (1, 6, 8), {"value": torch.arange(8.0)}))
    graph = Graph([*graph, Node(Add(), "sum", ("n0", "n1"), Shape((1, 6, 8)))], "sum")
    assert ops(fold_multipliers(graph), Mul)
    alone = Graph(list(graph)[:-1], "n1")
    assert not ops(fold_multipliers(alone), Mul)
