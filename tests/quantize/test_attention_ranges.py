"""Ranges of queries, keys and values by what the attention becomes: a few large keys are worth the range."""

import pytest
import torch
from tiny_models import images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Constant, Matmul, Softmax
from mptq_export.capture.score_path import score_path
from mptq_export.quantize.activations.attention_ranges import AttentionSample, best_range
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import FINE_SHARES, best_symmetric, symmetric
from mptq_export.quantize.simulation.fake_quantize import fake_quantize

SCORES, CONTEXT = "blocks.0.attn.scores", "blocks.0.attn.context"


def values(graph: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        evaluate(graph, x, lambda node, value: seen.update({node.name: value.float()}))
    return seen


def with_large_keys(graph: Graph) -> dict[str, torch.Tensor]:
    """Queries [8, H, T, d] that all look at one key of two images, the only large ones: [8, H, d, T]."""
    q, k = (graph[name] for name in graph[SCORES].inputs)
    generator = torch.Generator().manual_seed(0)
    queries, keys = (0.3 * torch.randn(node.shape.at(8), generator=generator) for node in (q, k))
    keys[:2, ..., 2] = 1.5
    return {q.name: queries + 0.75, k.name: keys}


def sample_at(graph: Graph, name: str, seen: dict[str, torch.Tensor]) -> AttentionSample:
    found = AttentionSample.of(graph, graph[name], seen)
    assert found is not None
    return found


def test_large_keys_that_queries_look_at_are_not_cut():
    graph = prepared("vit")
    seen = with_large_keys(graph)
    sample, keys = sample_at(graph, SCORES, seen), seen[graph[SCORES].inputs[1]]
    candidates = [symmetric(float(keys.abs().max()) * share, 3) for share in FINE_SHARES]
    error = sample.error_of(1, None)
    chosen = best_range(sample.operands[1], candidates, error)
    by_own_error = best_symmetric(Histogram.of(keys), 3)
    assert chosen.scale > 1.2 * by_own_error.scale
    assert error(fake_quantize(sample.operands[1], chosen)) < 0.5 * error(
        fake_quantize(sample.operands[1], by_own_error)
    )


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_weights_are_those_of_the_model(kind: str):
    graph = prepared(kind)
    softmax = next(node for node in graph if isinstance(node.op, Softmax))
    scores, _ = score_path(graph, softmax)
    seen = values(graph, images(kind, 2))
    sample = sample_at(graph, scores.name, seen)
    found, exact = sample.weights(*sample.operands), seen[softmax.name].double()
    assert found.numel() == exact.numel()
    assert (found.reshape(exact.shape) - exact).abs().max() < 1e-5
    assert sample.error_of(0, None)(sample.operands[0]) == 0


def test_values_are_measured_by_the_context():
    graph = prepared("vit")
    seen = values(graph, images("vit", 4))
    sample = sample_at(graph, CONTEXT, seen)
    assert sample.behind_softmax
    found = sample.weights(*sample.operands)
    assert (found - seen[CONTEXT].double()).abs().max() < 1e-5


def test_a_query_that_is_no_value_of_the_images_has_no_sample():
    graph = prepared("siglip")  # its pooling asks with one query that is learned
    seen = values(graph, images("siglip", 2))
    scores = [n for n in graph if isinstance(n.op, Matmul) and isinstance(graph.root(n.inputs[0]).op, Constant)]
    assert scores
    for matmul in scores:
        assert AttentionSample.of(graph, matmul, seen) is None
