"""Rows that nobody reads are not computed."""

import pytest
import torch
from tiny_models import captured, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Constant, Input, LayerNorm, Linear, Slice, Softmax
from mptq_export.transform.hoist_slices import hoist_slices

from .graphs import chain, ops


def test_the_last_block_works_on_the_class_token_alone():
    graph = prepared("vit")
    for name in ("blocks.1.attn.proj", "blocks.1.norm2", "blocks.1.mlp.fc1", "blocks.1.mlp.fc2", "norm"):
        assert graph[name].shape.dims[1] == 1, name
    for name in ("blocks.1.norm1", "blocks.1.attn.qkv", "blocks.0.mlp.fc1"):  # keys and values need all tokens
        assert graph[name].shape.dims[1] == 17, name
    assert graph["blocks.1.attn.softmax"].shape.dims[-2:] == (1, 17)


@pytest.mark.parametrize("kind", ["gap", "deit_distilled", "swin"])
def test_where_more_tokens_are_read_no_row_is_dropped(kind: str):
    before = {n.name: n.shape.dims for n in captured(kind) if isinstance(n.op, Linear | LayerNorm | Softmax)}
    after = {n.name: n.shape.dims for n in prepared(kind) if isinstance(n.op, Linear | LayerNorm | Softmax)}
    before_tokens = {name: dims for name, dims in before.items() if not name.startswith(("head", "norm"))}
    assert {name: after[name] for name in before_tokens} == before_tokens


def test_a_slice_stops_where_all_rows_are_needed():
    cut = (Slice(2, 0, 1), (1, 6, 1), {})
    norm = (LayerNorm(1e-6), (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8)})
    graph = hoist_slices(chain(norm, cut))
    assert [type(node.op) for node in graph] == [Input, LayerNorm, Slice]
    cut = (Slice(1, 2, 3), (1, 1, 8), {})
    norm = (LayerNorm(1e-6), (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8)})
    graph = hoist_slices(chain(norm, cut))
    assert [type(node.op) for node in graph] == [Input, Slice, LayerNorm]


def test_rows_of_a_constant_are_a_constant():
    table = Node(Constant(), "table", (), Shape((1, 6, 8), None), {"value": torch.randn(1, 6, 8)})
    cut = Node(Slice(axis=1, start=2, end=3), "cut", ("sum",), Shape((1, 1, 8)))
    added = Node(Add(), "sum", ("input", "table"), Shape((1, 6, 8)))
    graph = Graph([Node(Input(), "input", (), Shape((1, 6, 8))), table, added, cut], "cut")
    hoisted = hoist_slices(graph)
    assert {type(node.op) for node in hoisted} == {Add, Constant, Input, Slice} and len(list(hoisted)) == 4
    assert ops(hoisted, Constant)[0].params["value"].shape == (1, 1, 8)
    x = torch.randn(3, 6, 8)
    assert torch.equal(evaluate(hoisted, x), evaluate(graph, x))
