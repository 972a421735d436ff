"""What is left of a batch norm goes into weights and biases, wherever channels stand."""

import pytest
import torch
from tiny_models import captured, images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Constant, Input, Linear, Mul, Op, Permute, Windows
from mptq_export.transform.channels import per_channel
from mptq_export.transform.fold_multipliers import fold_multipliers
from mptq_export.transform.fold_offsets import fold_offsets


def affine_after_a_permutation(offset: torch.Tensor, *between: Node) -> Graph:
    """Linear layer [1, 2, 3, 4], channels to axis 1, times one factor and plus one offset a channel."""
    generator = torch.Generator().manual_seed(0)
    weights = {"weight": torch.randn(4, 5, generator=generator), "bias": torch.randn(4, generator=generator)}
    moved = Shape((1, 4, 2, 3))
    nodes = [
        Node(Input(), "input", (), Shape((1, 2, 3, 5))),
        Node(Linear(), "layer", ("input",), Shape((1, 2, 3, 4)), weights),
        *between,
        Node(Permute(perm=(0, 3, 1, 2)), "nchw", (between[-1].name if between else "layer",), moved),
        Node(Mul(), "gain", ("nchw",), moved, {"value": torch.arange(1.0, 5.0).reshape(4, 1, 1)}),
        Node(Constant(), "offset", (), Shape(tuple(offset.shape), None), {"value": offset}),
        Node(Add(), "sum", ("gain", "offset"), moved),
    ]
    return Graph(nodes, "sum")


def ops(graph: Graph) -> set[type[Op]]:
    return {type(node.op) for node in graph}


@pytest.mark.parametrize("offset", [torch.arange(4.0).reshape(4, 1, 1), torch.tensor(3.0)])
def test_a_factor_and_an_offset_of_each_channel_are_gone(offset: torch.Tensor):
    graph = affine_after_a_permutation(offset)
    folded = fold_offsets(fold_multipliers(graph)).pruned()
    assert ops(folded) == {Input, Linear, Permute}
    x = torch.randn(3, 2, 3, 5)
    assert torch.allclose(evaluate(folded, x), evaluate(graph, x), atol=1e-5)


def test_an_offset_that_differs_within_a_channel_stays():
    graph = fold_multipliers(affine_after_a_permutation(torch.arange(3.0)))
    assert Add in ops(fold_offsets(graph))


def test_an_offset_stays_where_something_else_reads_the_layer():
    graph = fold_multipliers(affine_after_a_permutation(torch.tensor(3.0)))
    both = Graph([*graph, Node(Add(), "twice", ("sum", "nchw"), Shape((1, 4, 2, 3)))], "twice")
    assert "offset" in {name for node in fold_offsets(both) for name in node.inputs}


def test_zeros_around_a_map_do_not_get_the_offset():
    graph = affine_after_a_permutation(
        torch.tensor(3.0), Node(Windows((1, 1), (1, 2), (0, 1, 0, 1)), "padded", ("layer",), Shape((1, 2, 3, 4)))
    )
    folded = fold_offsets(fold_multipliers(graph))
    assert Add in ops(folded)
    x = torch.randn(3, 2, 3, 5)
    assert torch.allclose(evaluate(folded, x), evaluate(graph, x), atol=1e-5)


def test_a_constant_is_one_number_a_channel_only_where_it_is_the_same_for_all_its_elements():
    graph = affine_after_a_permutation(torch.tensor(0.0))
    column = torch.tensor([3.0, 1, 4, 1])
    found = per_channel(graph, "nchw", column.reshape(4, 1, 1))
    assert found is not None
    assert found.tolist() == column.tolist()
    assert per_channel(graph, "layer", column.reshape(4, 1, 1)) is None
    assert per_channel(graph, "nchw", torch.zeros(1, 1, 1, 1, 2)) is None


def test_no_batch_norm_is_left_in_a_levit_before_its_head():
    before, after = captured("levit"), prepared("levit")
    assert sum(isinstance(node.op, Mul) for node in before) > 10
    assert not [node.name for node in after if isinstance(node.op, Mul) and "head" not in node.name]
    x = images("levit", 2)
    assert evaluate(after, x).isfinite().all()
