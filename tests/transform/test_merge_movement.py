"""Chains of data movement become short, and what they move stays the same."""

import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.capture.graph import MOVEMENT, Graph, Node, Shape
from mptq_export.transform.hoist_slices import hoist_slices
from mptq_export.transform.merge_movement import merge_movement

from .graphs import chain, ops, until, values


@pytest.mark.parametrize("kind", KINDS)
def test_q_k_and_v_are_cut_from_one_reshape(kind: str):
    graph = prepared(kind)
    cut_first = ["slice", "slice", "reshape", "permute", "reshape"]  # where rows are cut too
    shared = 0
    for matmul in ops(graph, "matmul"):
        for name in matmul.inputs:
            if graph.root(name).op != "linear":
                continue
            steps, node = [], graph[name]
            while node.op in MOVEMENT:
                steps.insert(0, node.op)
                node = graph[node.inputs[0]]
            if steps[:3] == ["reshape", "slice", "permute"]:
                shared += 1
                assert steps[3:] in ([], ["reshape"])
                continue
            rest = iter(cut_first)
            assert all(step in rest for step in steps), steps  # in this order, each at most as often
    assert shared >= 3


def test_pieces_of_heads_tile_one_axis():
    graph = prepared("vit")
    cuts = [node for node in ops(graph, "slice") if graph[node.inputs[0]].op == "reshape"][:3]
    assert len({cut.inputs for cut in cuts}) == 1
    heads = graph[cuts[0].inputs[0]].shape.dims[2]
    edges = sorted((cut.attrs["start"], cut.attrs["end"]) for cut in cuts)
    assert {cut.attrs["axis"] for cut in cuts} == {2}
    assert edges == [(i * heads // 3, (i + 1) * heads // 3) for i in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_merging_keeps_every_value_that_is_computed(kind: str):
    before = until(kind, hoist_slices)
    after, x = merge_movement(before), images(kind, 3)
    old, new = values(before, x), values(after, x)
    kept = [n.name for n in before if n.op not in MOVEMENT]
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert sum(n.op in MOVEMENT for n in after) <= sum(n.op in MOVEMENT for n in before)


def test_movement_that_undoes_itself_is_gone():
    graph = chain(
        ("permute", (1, 8, 6), {"perm": (0, 2, 1)}),
        ("permute", (1, 6, 8), {"perm": (0, 2, 1)}),
        ("activation", (1, 6, 8), {"function": "gelu"}),
    )
    assert [node.op for node in merge_movement(graph)] == ["input", "activation"]


def test_a_roll_stays_and_what_surrounds_it_is_merged():
    graph = merge_movement(until("swin", hoist_slices))
    assert len(ops(graph, "roll")) == 2


@pytest.mark.parametrize("rows", [6, 7])
def test_images_that_are_a_fast_digit_are_split_at_every_batch(rows: int):
    """[L * B, D] -> [B, heads, L, d]: with 6 rows an image a frozen batch of 2 would divide them too."""
    activation = {"function": "gelu"}
    nodes = [
        Node("input", "input", (), Shape((1, rows, 8))),
        Node("permute", "turned", ("input",), Shape((rows, 1, 8), 1), {"perm": (1, 0, 2)}),
        Node("reshape", "rows", ("turned",), Shape((rows, 8), 0)),
        Node("activation", "gelu", ("rows",), Shape((rows, 8), 0), activation),
        Node("reshape", "apart", ("gelu",), Shape((rows, 1, 2, 4), 1)),
        Node("permute", "heads", ("apart",), Shape((1, 2, rows, 4), 0), {"perm": (1, 2, 0, 3)}),
        Node("reshape", "split", ("heads",), Shape((1, 2, rows, 2, 2), 0)),
        Node("reshape", "joined", ("split",), Shape((1, 2, rows, 4), 0)),
        Node("activation", "out", ("joined",), Shape((1, 2, rows, 4), 0), activation),
    ]
    graph = Graph(nodes, "out")
    merged = merge_movement(graph)
    ops_of = [n.op for n in merged]
    assert ops_of == ["input", "permute", "reshape", "activation", "reshape", "permute", "reshape", "activation"]
    for batch in (1, 2, 3, 4, 5):
        x = torch.randn(batch, rows, 8)
        assert torch.equal(values(merged, x)["out"], values(graph, x)["out"])
