"""Which channel an element is."""

import torch
from tiny_models import prepared

from mptq_export.capture.ops import Movement
from mptq_export.transform.channels import channel_numbers, constant_along


def test_the_channels_of_q_k_and_v_are_thirds_of_their_layer():
    graph = prepared("vit")
    for operand, part in (("blocks.0.attn.scores", 0), ("blocks.0.attn.context", 2)):
        value = graph[operand].inputs[0 if part == 0 else 1]
        index = channel_numbers(graph, value)
        assert index.shape == graph[value].shape.at(1)
        for head in range(2):
            expected = torch.arange(16) + part * 32 + head * 16
            assert torch.equal(index[0, head, 5], expected)
            found = constant_along(index[0, head], -1)
            assert found is not None
            assert torch.equal(found, expected)


def test_a_movement_path_runs_from_what_computes_to_the_value():
    graph = prepared("vit")
    value = graph["blocks.0.attn.scores"].inputs[1]
    root, chain = graph.path(value)
    assert root.name == "blocks.0.attn.qkv"
    assert [isinstance(node.op, Movement) for node in chain] == [True] * len(chain)
    assert chain[0].inputs[0] == root.name
    assert chain[-1].name == value
    assert graph.path(root.name) == (root, [])


def test_constant_along_an_axis():
    rows = torch.tensor([[3, 1, 2], [3, 1, 2]])
    found = constant_along(rows, -1)
    assert found is not None
    assert found.tolist() == [3, 1, 2]
    assert constant_along(rows, 0) is None
    found = constant_along(rows.T, 0)
    assert found is not None
    assert found.tolist() == [3, 1, 2]


def test_final_readers_look_through_movement():
    graph = prepared("vit")
    readers = graph.final_readers("blocks.0.attn.qkv")
    assert readers is not None
    assert {reader.name for reader, _ in readers} == {"blocks.0.attn.scores", "blocks.0.attn.context"}
    assert all(value in reader.inputs for reader, value in readers)
    assert graph.final_readers(graph.output) is None
