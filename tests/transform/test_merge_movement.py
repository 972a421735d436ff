"""Chains of data movement become short, and what they move stays the same."""

import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Activation, Input, Linear, Matmul, Movement, Permute, Reshape, Roll, Slice
from mptq_export.transform.hoist_slices import hoist_slices
from mptq_export.transform.merge_movement import merge_movement

from .graphs import chain, ops, until, values


@pytest.mark.parametrize("kind", KINDS)
def test_q_k_and_v_are_cut_from_one_reshape(kind: str):
    graph = prepared(kind)
    cut_first = [Slice, Slice, Reshape, Permute, Reshape]  # where rows are cut too
    shared = 0
    for matmul in ops(graph, Matmul):
        for name in matmul.inputs:
            if not isinstance(graph.root(name).op, Linear):
                continue
            steps, node = [], graph[name]
            while isinstance(node.op, Movement):
                steps.insert(0, type(node.op))
                node = graph[node.inputs[0]]
            if steps[:3] == [Reshape, Slice, Permute]:
                shared += 1
                assert steps[3:] in ([], [Reshape])
                continue
            rest = iter(cut_first)
            assert all(step in rest for step in steps), steps  # in this order, each at most as often
    assert shared >= 3


def test_pieces_of_heads_tile_one_axis():
    graph = prepared("vit")
    cuts = [node for node in ops(graph, Slice) if isinstance(graph[node.inputs[0]].op, Reshape)][:3]
    assert len({cut.inputs for cut in cuts}) == 1
    heads = graph[cuts[0].inputs[0]].shape.dims[2]
    edges = sorted((cut.op.start, cut.op.end) for cut in cuts)
    assert {cut.op.axis for cut in cuts} == {2}
    assert edges == [(i * heads // 3, (i + 1) * heads // 3) for i in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_merging_keeps_every_value_that_is_computed(kind: str):
    before = until(kind, hoist_slices)
    after, x = merge_movement(before), images(kind, 3)
    old, new = values(before, x), values(after, x)
    kept = [n.name for n in before if not isinstance(n.op, Movement)]
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert sum(isinstance(n.op, Movement) for n in after) <= sum(isinstance(n.op, Movement) for n in before)


def test_movement_that_undoes_itself_is_gone():
    graph = chain(
        (Permute((0, 2, 1)), (1, 8, 6), {}),
        (Permute((0, 2, 1)), (1, 6, 8), {}),
        (Activation("gelu"), (1, 6, 8), {}),
    )
    assert [type(node.op) for node in merge_movement(graph)] == [Input, Activation]


def test_a_roll_stays_and_what_surrounds_it_is_merged():
    graph = merge_movement(until("swin", hoist_slices))
    assert len(ops(graph, Roll)) == 2


@pytest.mark.parametrize("rows", [6, 7])
def test_images_that_are_a_fast_digit_are_split_at_every_batch(rows: int):
    """[L * B, D] -> [B, heads, L, d]: with 6 rows an image a frozen batch of 2 would divide them too."""
    nodes = [
        Node(Input(), "input", (), Shape((1, rows, 8))),
        Node(Permute(perm=(1, 0, 2)), "turned", ("input",), Shape((rows, 1, 8), 1)),
        Node(Reshape(), "rows", ("turned",), Shape((rows, 8), 0)),
        Node(Activation("gelu"), "gelu", ("rows",), Shape((rows, 8), 0)),
        Node(Reshape(), "apart", ("gelu",), Shape((rows, 1, 2, 4), 1)),
        Node(Permute(perm=(1, 2, 0, 3)), "heads", ("apart",), Shape((1, 2, rows, 4), 0)),
        Node(Reshape(), "split", ("heads",), Shape((1, 2, rows, 2, 2), 0)),
        Node(Reshape(), "joined", ("split",), Shape((1, 2, rows, 4), 0)),
        Node(Activation("gelu"), "out", ("joined",), Shape((1, 2, rows, 4), 0)),
    ]
    graph = Graph(nodes, "out")
    merged = merge_movement(graph)
    ops_of = [type(n.op) for n in merged]
    assert ops_of == [Input, Permute, Reshape, Activation, Reshape, Permute, Reshape, Activation]
    for batch in (1, 2, 3, 4, 5):
        x = torch.randn(batch, rows, 8)
        assert torch.equal(values(merged, x)["out"], values(graph, x)["out"])
