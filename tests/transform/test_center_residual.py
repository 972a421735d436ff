"""Norms read streams without a mean, where everything that writes them can be centred."""

import pytest
import torch
from tiny_models import images, prepared, tiny

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, LayerNorm, Linear
from mptq_export.transform.center_residual import center_residual
from mptq_export.transform.merge_movement import merge_movement

from .graphs import chain, ops, until, values


def centered(kind: str) -> dict[str, bool]:
    return {n.name: n.op.centered for n in prepared(kind) if isinstance(n.op, LayerNorm)}


@pytest.mark.parametrize("kind", ["vit", "deit_distilled", "gap", "dinov2", "dinov2_reg"])
def test_in_a_vit_every_norm_reads_a_stream_without_mean(kind: str):
    assert all(centered(kind).values())
    graph = prepared(kind)
    seen = values(graph, images(kind, 3))
    for norm in ops(graph, LayerNorm):
        stream = seen[norm.inputs[0]]
        assert stream.mean(-1).abs().max() < 1e-5 * stream.abs().max()
    written = values(until(kind, merge_movement), images(kind, 3))
    uncentred = [written[n.inputs[0]] for n in ops(until(kind, merge_movement), LayerNorm)]
    assert max(float(stream.mean(-1).abs().max()) for stream in uncentred) > 0.01


def test_a_stream_that_a_layer_norm_writes_or_a_patch_merging_reads_keeps_its_mean():
    found = centered("swin")
    stage_0 = [name for name in found if name.startswith("layers.0.") or name == "layers.1.downsample.norm"]
    assert len(stage_0) == 5
    assert not any(found[name] for name in stage_0)
    assert all(found[name] for name in found if name not in stage_0)
    graph = prepared("swin")
    assert torch.equal(
        graph["layers.0.blocks.0.attn.proj"].params["bias"], tiny("swin").layers[0].blocks[0].attn.proj.bias
    )


def test_a_stream_that_the_output_reads_keeps_its_mean():
    graph = chain((Linear(), (1, 6, 8), {"weight": torch.randn(8, 8), "bias": torch.randn(8)}))
    norm = {"weight": torch.ones(8), "bias": torch.zeros(8)}
    norm_node = Node(LayerNorm(eps=1e-6), "norm", ("n0",), Shape((1, 6, 8)), norm)
    both = Graph([*graph, norm_node, Node(Add(), "sum", ("n0", "norm"), Shape((1, 6, 8)))], "sum")
    assert not center_residual(both)["norm"].op.centered
    alone = Graph([*graph, norm_node], "norm")
    assert center_residual(alone)["norm"].op.centered
