"""Values of attention moved by a constant: the projection takes it out again."""

import pytest
import torch
from tiny_models import images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.ops import Linear
from mptq_export.transform.balance_attention import only_matmuls
from mptq_export.transform.shift_values import movable_values, shift_values


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_output_is_the_same(kind: str):
    graph, x = prepared(kind).cast(torch.float64), images(kind, 3).double()
    changed, found = graph, 0
    for node in graph:
        for matmul in only_matmuls(graph, node) if isinstance(node.op, Linear) else ():
            channels = movable_values(changed, matmul, node.name)
            if channels is not None:
                before = changed[node.name].params["bias"]
                changed = shift_values(changed, matmul, changed[node.name], 0.75)
                moved = (changed[node.name].params["bias"] - before).nonzero()[:, 0]
                assert torch.equal(moved, channels)
                found += 1
    assert found
    torch.testing.assert_close(evaluate(changed, x), evaluate(graph, x), rtol=1e-9, atol=1e-9)


def test_queries_and_keys_are_no_values():
    graph = prepared("vit")
    scores = graph["blocks.0.attn.scores"]
    assert movable_values(graph, scores, "blocks.0.attn.qkv") is None
