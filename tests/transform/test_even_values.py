"""Values reach as far as queries and keys, and the function is kept."""

import pytest
import torch
from tiny_models import images, prepared

from mptq_export.capture.evaluate import computed_in, evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear
from mptq_export.transform.even_values import even_values


def outputs(graph: Graph, name: str, x: torch.Tensor) -> torch.Tensor:
    seen: dict[str, torch.Tensor] = {}
    evaluate(graph, x, lambda node, value: seen.update({node.name: value}))
    return computed_in(torch.float64)(graph[name], [seen[graph[name].inputs[0]].double()]).flatten(0, -2)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_output_is_the_same(kind: str):
    graph, x = prepared(kind), images(kind, 4)
    expected = evaluate(graph.cast(torch.float64), x.double())
    changed = graph
    for node in list(graph):
        if isinstance(node.op, Linear):
            changed = even_values(changed, changed[node.name], outputs(changed.cast(torch.float32), node.name, x))
    touched = [node.name for node in graph if changed[node.name] is not node]
    assert touched
    assert all(name.endswith(("qkv", "proj")) for name in touched)
    torch.testing.assert_close(evaluate(changed.cast(torch.float64), x.double()), expected, rtol=1e-9, atol=1e-9)


def test_each_head_of_the_values_reaches_as_far_as_queries_and_keys():
    graph, x = prepared("vit"), images("vit", 8)
    name = "blocks.0.attn.qkv"
    evened = even_values(graph, graph[name], outputs(graph, name, x))
    queries, keys, *heads = outputs(evened.cast(torch.float32), name, x).split([32, 32, 16, 16], 1)
    wanted = torch.cat([queries, keys], 1).abs().flatten().quantile(0.9995)
    for head in heads:
        assert float(head.abs().flatten().quantile(0.9995) / wanted) == pytest.approx(1, abs=0.05)
