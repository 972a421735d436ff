"""A few images at a time: the same values, and only what nothing else reads is overwritten."""

import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.capture.deferred import image_chunks
from mptq_export.capture.evaluate import compute, evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import (
    Activation,
    Add,
    Input,
    LayerNorm,
    Linear,
    Matmul,
    Op,
    Permute,
    Reshape,
    Slice,
    Softmax,
)
from mptq_export.quantize.walk.chunks import (
    compute_in_chunks,
    drop,
    even_then_odd,
    overwrite,
    walk_order,
)


def all_values(graph: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every value of a graph, none of which shares memory with another."""
    values: dict[str, torch.Tensor] = {}
    evaluate(graph, x, lambda node, value: values.update({node.name: value.clone()}))
    return values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_values_are_those_of_all_images_at_once(kind: str, count: int):
    graph, x = prepared(kind), images(kind, count)
    expected = all_values(graph, x)
    for node in graph:
        if not isinstance(node.op, Input):
            values = {name: expected[name].clone() for name in node.inputs}
            found = compute_in_chunks(graph, node, values, compute, chunk=2000)
            assert found.shape == node.shape.at(count)
            assert torch.allclose(found, expected[node.name], rtol=1e-4, atol=1e-5), node.name


def test_what_is_computed_at_once_is_small():
    graph, x = prepared("vit"), images("vit", 6)
    values, largest = all_values(graph, x), []

    def watched(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        largest.append(max(len(value) for value in inputs))
        return compute(node, inputs)

    for node in graph:
        if isinstance(node.op, Linear | Matmul | Softmax | Activation | Add):
            compute_in_chunks(graph, node, values, watched, chunk=1)
    assert max(largest) == 1


def chain(*ops: tuple[Op, str, tuple[str, ...]]) -> Graph:
    """Nodes of one shape behind an input; the last one is the output."""
    shape = Shape((1, 3), 0)
    nodes = [Node(Input(), "x", (), shape)]
    nodes += [Node(op, name, inputs, shape) for op, name, inputs in ops]
    return Graph(nodes, nodes[-1].name)


SOFTMAX, RESHAPE, RELU = (Softmax(), "s", ("x",)), (Reshape(), "r", ("s",)), (Activation("relu"), "a", ("r",))


@pytest.mark.parametrize(
    ("graph", "reader", "taken"),
    [
        (chain(SOFTMAX, (Activation("relu"), "a", ("s",))), "a", True),
        (chain(SOFTMAX, RESHAPE, RELU), "a", True),
        (chain((Activation("relu"), "a", ("x",))), "a", False),  # the images are the caller's
        (chain((Reshape(), "r", ("x",)), RELU), "a", False),
        (chain(SOFTMAX, (Activation("relu"), "a", ("s",)), (Add(), "z", ("a", "s"))), "a", False),
        (chain(SOFTMAX, RESHAPE, RELU, (Add(), "z", ("a", "s"))), "a", False),
        (chain(SOFTMAX, (LayerNorm(1e-6), "n", ("s",))), "n", False),  # SQ-b computes it again
    ],
)
def test_only_what_nothing_else_reads_is_overwritten(graph: Graph, reader: str, taken: bool):
    name = graph[reader].inputs[0]
    value = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
    before = value.clone()
    found = compute_in_chunks(graph, graph[reader], {name: value}, lambda _node, inputs: inputs[0].abs(), chunk=1)
    assert torch.equal(found, before.abs())
    assert (found is value) == taken
    assert taken or torch.equal(value, before)


def test_overwriting_maps_every_element():
    value = torch.arange(15.0).reshape(5, 3)
    found = overwrite(value, lambda some: some + 1, chunk=4)
    assert found is value
    assert torch.equal(found, torch.arange(1.0, 16.0).reshape(5, 3))


@pytest.mark.parametrize("images_", [1, 2, 7, 8])
@pytest.mark.parametrize("chunk", [1, 6, 100])
def test_every_image_is_in_one_chunk(images_: int, chunk: int):
    assert [i for some in image_chunks(images_, 3 * images_, chunk) for i in some] == list(range(images_))
    indices = torch.arange(images_)
    cut = [indices[some].tolist() for some in even_then_odd(images_, 3 * images_, chunk)]
    assert [i for some in cut for i in some] == [*range(0, images_, 2), *range(1, images_, 2)]
    assert all(len({i % 2 for i in some}) == 1 for some in cut)
    assert max(map(len, cut)) <= max(1, chunk // 3)


def test_a_view_keeps_no_more_than_itself():
    whole = torch.arange(12.0)
    values = {"q": whole[:4], "k": whole[4:8], "v": whole[8:], "other": torch.ones(3)}
    drop(values, ["q"])
    assert values["k"].data_ptr() == whole[4:].data_ptr()  # two thirds of the memory are still read
    drop(values, ["k"])
    assert values.keys() == {"v", "other"}
    assert values["v"].tolist() == [8.0, 9.0, 10.0, 11.0]
    assert values["v"].untyped_storage().nbytes() == 16


def test_a_layers_output_is_cut_as_soon_as_it_is_there():
    graph = chain(
        (Linear(), "l", ("x",)),
        (Reshape(), "r", ("l",)),
        (Slice(1, 0, 3), "q", ("r",)),
        (Softmax(), "s", ("q",)),
        (Slice(1, 0, 3), "v", ("r",)),
        (Permute((0, 1)), "p", ("v",)),
        (Add(), "z", ("s", "p")),
        (Add(), "y", ("z", "x")),
        (Slice(1, 0, 3), "w", ("z",)),
    )
    assert walk_order(graph) == ["x", "l", "r", "q", "v", "p", "s", "z", "y", "w"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_stands_behind_its_operands(kind: str):
    graph, seen = prepared(kind), set[str]()
    for name in walk_order(graph):
        assert seen.issuperset(graph[name].inputs)
        seen.add(name)
    assert len(walk_order(graph)) == len(seen) == len(graph.nodes)
