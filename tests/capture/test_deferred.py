"""Values that are too large to be held are computed a few images at a time, and are the same."""

import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.capture.deferred import evaluate_in_parts
from mptq_export.capture.evaluate import evaluate


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_computed_in_parts_gives_the_same(kind: str) -> None:
    graph = prepared(kind)
    x = images(kind, 5).double()
    parts: dict[str, int] = {}
    whole: dict[str, torch.Tensor] = {}
    expected = evaluate(graph.cast(torch.float64), x, lambda node, value: whole.update({node.name: value}))

    def observe(node, value):
        parts[node.name] = parts.get(node.name, 0) + len(value)
        low, high = torch.aminmax(whole[node.name])
        assert low - 1e-9 <= value.min()
        assert value.max() <= high + 1e-9

    found = evaluate_in_parts(graph, x, observe, most=1)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert set(parts) == set(graph.nodes)
    assert all(parts[node.name] >= len(whole[node.name]) for node in graph)
