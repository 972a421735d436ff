"""A layer whose result is cut becomes a layer a part: the same function, and no other layer is touched."""

from dataclasses import replace

import pytest
import torch
from tiny_models import images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Node, Shape
from mptq_export.capture.ops import Concat, Linear, Slice
from mptq_export.transform.layers_in_parts import layers_in_parts


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_query_key_and_value_are_layers_of_their_own(kind: str):
    graph = prepared(kind)
    made = layers_in_parts(graph)
    x = images(kind, 2).double()
    torch.testing.assert_close(evaluate(made, x), evaluate(graph, x), rtol=1e-9, atol=1e-9)
    cut = {node.name for node in graph if isinstance(node.op, Linear) and node.name.endswith("attn.qkv")}
    linears = {node.name for node in made if isinstance(node.op, Linear)}
    assert len(cut) >= 2 and not cut & linears
    assert all(sum(name.startswith(f"{layer}.") for name in linears) == 3 for layer in cut)
    assert {node.name for node in graph if isinstance(node.op, Linear)} - cut < linears


def test_a_layer_that_is_also_read_whole_stays_one():
    graph = prepared("vit")
    cut = next(node for node in graph if isinstance(node.op, Linear) and node.name.endswith("blocks.1.attn.qkv"))
    shape = Shape((*cut.shape.dims[:-1], 2 * cut.shape.dims[-1]), cut.shape.batch_axis)
    both = Node(Concat(len(shape.dims) - 1), "both", (cut.name, cut.name), shape)
    whole = Node(Slice(len(shape.dims) - 1, 0, graph[graph.output].shape.dims[-1]), "whole", ("both",), shape)
    read = graph.expanded({graph.output: [graph[graph.output], both, replace(whole, shape=shape)]})
    assert cut.name in {node.name for node in layers_in_parts(read)}
