"""Values that are too large to be held are computed a few images at a time, and are the same."""

import numpy as np
import pytest
import torch
from tiny_models import KINDS, images, prepared, quantized_anew

from mptq_export.capture.deferred import PART, Deferring, Value, deferring_scores, evaluate_in_parts
from mptq_export.capture.evaluate import compute, evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.liveness import values_at_once
from mptq_export.capture.ops import Input, Matmul, Permute, Softmax
from mptq_export.quantize.method import BEST, PAPER, Method
from mptq_export.quantize.walk import values_in_flight


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_computed_in_parts_gives_the_same(kind: str) -> None:
    graph = prepared(kind)
    x = images(kind, 5).double()
    parts: dict[str, int] = {}
    whole: dict[str, torch.Tensor] = {}
    expected = evaluate(graph.cast(torch.float64), x, lambda node, value: whole.update({node.name: value}))

    def observe(node: Node, value: torch.Tensor) -> None:
        parts[node.name] = parts.get(node.name, 0) + len(value)
        low, high = torch.aminmax(whole[node.name])
        assert low - 1e-9 <= value.min()
        assert value.max() <= high + 1e-9

    found = evaluate_in_parts(graph, x, observe, most=1)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert set(parts) == set(graph.nodes)
    assert all(parts[node.name] >= len(whole[node.name]) for node in graph)


@pytest.mark.parametrize("method", [PAPER, BEST], ids=["paper", "best"])
@pytest.mark.parametrize("kind", ["sam", "swin"])
def test_a_walk_that_defers_its_scores_chooses_the_same(
    monkeypatch: pytest.MonkeyPatch, kind: str, method: Method
) -> None:
    _, expected = quantized_anew(kind, (8, 8), method)
    deferred: list[frozenset[str]] = []

    def all_of_them(graph: Graph, count: int) -> Deferring:
        deferring = deferring_scores(graph, count, most=1)
        deferred.append(deferring.names)
        return deferring

    monkeypatch.setattr(values_in_flight, "deferring_scores", all_of_them)
    _, found = quantized_anew(kind, (8, 8), method)
    softmaxes = {node.name for node in prepared(kind) if isinstance(node.op, Softmax)}
    assert softmaxes
    assert softmaxes <= deferred[0]
    assert found.activations == expected.activations
    for name, quant in expected.weights.items():
        assert np.array_equal(found.weights[name].codes, quant.codes)
        assert np.array_equal(found.weights[name].bias, quant.bias)


def attention(tokens: int) -> Graph:
    """A product of two, a softmax, a product: of an image so many tokens of 4 channels."""
    narrow, square = Shape((1, tokens, 4)), Shape((1, tokens, tokens))
    nodes = [
        Node(Input(), "x", (), narrow),
        Node(Permute((0, 2, 1)), "k", ("x",), Shape((1, 4, tokens))),
        Node(Matmul(), "scores", ("x", "k"), square),
        Node(Softmax(), "attention", ("scores",), square),
        Node(Matmul(), "y", ("attention", "x"), narrow),
    ]
    return Graph(nodes, "y")


def test_parts_of_what_is_deferred_are_small() -> None:
    """A walk holds hundreds of megabytes of values; a part of the scores must not be more than them."""
    graph, images, largest = attention(1024), 200, 0
    deferring = deferring_scores(graph, images)

    def watched(node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        nonlocal largest
        value = compute(node, operands)
        largest = max(largest, value.numel() if node.name in deferring.names else 0)
        return value

    values: dict[str, Value] = {"x": torch.empty(images, 1024, 4, device="meta")}  # shapes alone
    for node in list(graph)[1:]:
        values[node.name] = deferring.value(node, [values[name] for name in node.inputs], watched)
    assert isinstance(values["y"], torch.Tensor)
    assert values["y"].shape == (images, 1024, 4)
    assert 1024 * 1024 <= largest <= PART


def test_what_is_deferred_is_not_held() -> None:
    graph = attention(32)
    names = deferring_scores(graph, 3, most=1000).names
    assert names == {"scores", "attention"}
    assert values_at_once(graph) == 32 * 32 + 2 * 32 * 4
    assert values_at_once(graph, names) == 2 * 32 * 4
