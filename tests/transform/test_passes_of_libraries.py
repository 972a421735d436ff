"""Rewrites that other libraries' modules need: each fires, and leaves alone what is not its own."""

import math

import pytest
import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Concat, Constant, Input, LayerNorm, Matmul, Mul, Op, Pad, Permute, Softmax
from mptq_export.support.errors import MptqError
from mptq_export.transform.center_scores import center_scores
from mptq_export.transform.fold_gains import fold_gains
from mptq_export.transform.fold_prefix import fold_prefix
from mptq_export.transform.own_scores import own_scores
from mptq_export.transform.sink_permutes import sink_permutes

TOKENS = Shape((1, 6, 4))
MOVED = Shape((1, 4, 6))


def constant(name: str, value: torch.Tensor) -> Node:
    return Node(Constant(), name, (), Shape(tuple(value.shape), None), {"value": value})


def norm() -> list[Node]:
    """A norm of tokens [B, 6, 4], then [B, 4, 6]."""
    params = {"weight": torch.tensor([1.0, 2.0, 3.0, 4.0]), "bias": torch.tensor([0.0, 1.0, 0.0, 2.0])}
    return [
        Node(Input(), "input", (), TOKENS),
        Node(LayerNorm(1e-5), "norm", ("input",), TOKENS, params),
        Node(Permute((0, 2, 1)), "moved", ("norm",), MOVED),
    ]


def kinds(graph: Graph) -> set[type[Op]]:
    return {type(node.op) for node in graph}


def same(first: Graph, second: Graph) -> bool:
    x = torch.randn(3, *first.input.shape.dims[1:], generator=torch.Generator().manual_seed(0))
    return torch.allclose(evaluate(first, x), evaluate(second, x), atol=1e-5)


def test_a_gain_and_an_offset_of_each_channel_go_into_the_norm():
    gain, offset = torch.arange(1.0, 5.0).reshape(4, 1), torch.arange(4.0).reshape(4, 1)
    scaled = Node(Mul(), "scaled", ("moved",), MOVED, {"value": gain})
    graph = Graph([*norm(), scaled, constant("offset", offset), Node(Add(), "sum", ("scaled", "offset"), MOVED)], "sum")
    folded = fold_gains(graph).pruned()
    assert kinds(folded) == {Input, LayerNorm, Permute}
    assert same(folded, graph)


@pytest.mark.parametrize("gain", [torch.arange(6.0), torch.tensor(2.0)])
def test_a_gain_of_each_token_stays_and_so_does_one_of_all(gain: torch.Tensor):
    graph = Graph([*norm(), Node(Mul(), "scaled", ("moved",), MOVED, {"value": gain})], "scaled")
    assert Mul in kinds(fold_gains(graph))


def test_a_gain_stays_where_something_else_reads_the_norm():
    gain = {"value": torch.arange(1.0, 5.0).reshape(4, 1)}
    twice = Node(Add(), "twice", ("scaled", "moved"), MOVED)
    graph = Graph([*norm(), Node(Mul(), "scaled", ("moved",), MOVED, gain), twice], "twice")
    assert Mul in kinds(fold_gains(graph))


def shared_scores(softmaxes: int) -> Graph:
    scores = Shape((1, 6, 6))
    nodes = [
        Node(Input(), "input", (), TOKENS),
        Node(Permute((0, 2, 1)), "key", ("input",), MOVED),
        Node(Matmul(), "scores", ("input", "key"), scores),
    ]
    values = []
    for number in range(softmaxes):
        turned = Node(Permute((0, 2, 1)), f"turned{number}", ("scores",), scores)
        nodes += [turned, Node(Softmax(), f"softmax{number}", (turned.name if number else "scores",), scores)]
        values.append(Node(Matmul(), f"value{number}", (f"softmax{number}", "input"), TOKENS))
    total = Node(Concat(1), "total", tuple(value.name for value in values), Shape((1, 6 * softmaxes, 4)))
    return Graph([*nodes, *values, total], "total").pruned()


def test_softmaxes_that_share_scores_get_their_own():
    graph = shared_scores(2)
    parted = own_scores(graph).pruned()
    assert len([node for node in parted if isinstance(node.op, Matmul)]) == 4
    assert all(len(parted.consumers()[node.name]) == 1 for node in parted if node.name.endswith("scores"))
    assert same(parted, graph)


def test_scores_of_one_softmax_stay():
    graph = shared_scores(1)
    assert own_scores(graph) is graph


def padded(tokens: torch.Tensor) -> Graph:
    wide = Shape((1, 4, 8))
    nodes = [
        Node(Input(), "input", (), TOKENS),
        Node(Permute((0, 2, 1)), "moved", ("input",), MOVED),
        Node(Pad(2, 1, 1), "pad", ("moved",), wide),
        constant("tokens", tokens),
        Node(Add(), "sum", ("pad", "tokens"), wide),
        Node(Permute((0, 2, 1)), "back", ("sum",), Shape((1, 8, 4))),
    ]
    return Graph(nodes, "back")


def test_tokens_of_exchanged_axes_leave_no_exchange_behind():
    graph = padded(torch.randn(1, 4, 8))
    sunk = sink_permutes(graph).pruned()
    assert kinds(sunk) == {Input, Pad, Constant, Add}
    assert same(sunk, graph)


def test_a_constant_of_fewer_axes_stays_where_it_is():
    graph = padded(torch.randn(8))
    assert sink_permutes(graph) is graph


def test_an_exchange_that_would_stay_is_not_moved():
    graph = padded(torch.randn(1, 4, 8))
    both = Graph([*graph, Node(Add(), "both", ("sum", "pad"), Shape((1, 4, 8)))], "both").pruned()
    assert sink_permutes(both) is both


def test_constants_between_two_values_become_parts_of_them():
    x = Node(Input(), "input", (), TOKENS)
    y = Node(Mul(), "y", ("input",), TOKENS, {"value": torch.tensor(2.0)})
    parts = [constant(name, torch.randn(1, rows, 4)) for name, rows in (("a", 1), ("b", 2), ("c", 3))]
    joined = Node(Concat(1), "joined", ("a", "input", "b", "y", "c"), Shape((1, 18, 4)))
    graph = Graph([x, y, *parts, joined], "joined")
    folded = fold_prefix(graph).pruned()
    (concat,) = [node for node in folded if isinstance(node.op, Concat)]
    assert [folded[name].shape.dims[1] for name in concat.inputs] == [9, 9]
    assert same(folded, graph)


def masked(mask: torch.Tensor) -> Graph:
    scores = Shape((1, 6, 4))
    nodes = [
        Node(Input(), "input", (), TOKENS),
        constant("mask", mask),
        Node(Add(), "masked", ("input", "mask"), scores),
        Node(Softmax(), "softmax", ("masked",), scores),
    ]
    return Graph(nodes, "softmax")


def test_minus_infinity_becomes_a_number_with_the_same_softmax():
    graph = masked(torch.full((6, 4), -math.inf).triu(1))
    centred = center_scores(graph)
    (value,) = [node.params["value"] for node in centred if isinstance(node.op, Constant)]
    assert bool(value.isfinite().all())
    assert same(centred, graph)


def test_a_row_that_is_masked_altogether_stays_without_a_result():
    mask = torch.zeros(6, 4)
    mask[2] = -math.inf
    assert not bool(evaluate(center_scores(masked(mask)), torch.randn(1, 6, 4)).isfinite().all())


def test_rows_that_two_masks_hide_together_are_refused():
    left, right = torch.zeros(6, 4), torch.zeros(6, 4)
    left[:, :2], right[:, 2:] = -math.inf, -math.inf
    graph = masked(left)
    both = [constant("other", right), Node(Add(), "both", ("masked", "other"), Shape((1, 6, 4)))]
    nodes = [*list(graph)[:-1], *both, Node(Softmax(), "softmax", ("both",), Shape((1, 6, 4)))]
    with pytest.raises(MptqError, match="changed the softmax"):
        center_scores(Graph(nodes, "softmax"))
