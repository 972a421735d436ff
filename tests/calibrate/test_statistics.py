"""Sites and streaming statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import KINDS, images, prepared

from mptq_export.calibrate.sites import sites
from mptq_export.calibrate.statistics import Range, collect
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Activation, Input, Linear, Matmul, PatchEmbed, Softmax
from mptq_export.capture.score_path import score_path
from mptq_export.support.errors import MptqError


@pytest.mark.parametrize("kind", KINDS)
def test_every_operand_of_every_matmul_is_a_site(kind: str):
    graph = prepared(kind)
    keys = [site.key for site in sites(graph)]
    assert len(keys) == len(set(keys))
    for node in graph:
        if isinstance(node.op, Linear | PatchEmbed | Activation | Softmax):
            assert f"{node.name}.input" in keys
        if isinstance(node.op, Matmul):
            assert {f"{node.name}.a", f"{node.name}.b"} <= set(keys)


def test_kinds_of_sites():
    kinds = {site.key: site.kind for site in sites(prepared("vit"))}
    assert kinds["patch_embed.proj.input"] == "pixels"
    assert kinds["blocks.0.attn.softmax.input"] == "scores"
    assert kinds["blocks.0.attn.context.a"] == "attention"
    assert kinds["blocks.0.attn.scores.a"] == kinds["blocks.0.attn.context.b"] == "matmul"
    assert kinds["blocks.0.mlp.act.gelu.input"] == "activation"
    assert kinds["head.input"] == "linear"


def test_a_softmax_may_read_any_value_as_scores():
    nodes = [Node(Input(), "input", (), Shape((1, 4, 4))), Node(Softmax(), "probs", ("input",), Shape((1, 4, 4)))]
    graph = Graph(nodes, "probs")
    assert score_path(graph, nodes[1]) == (nodes[0], [])
    assert {site.key: site.kind for site in sites(graph)} == {"probs.input": "scores", "probs.output": "attention"}


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_ranges_are_those_of_all_values_whatever_the_batches(kind: str):
    graph, x = prepared(kind), images(kind, 6)
    seen: dict[str, torch.Tensor] = {}
    evaluate(graph, x, lambda node, value: seen.update({node.name: value}))
    for parts in ([6], [1, 5], [2, 2, 2]):
        stats = collect(graph, [part.numpy() for part in x.split(parts)])
        assert stats.images == 6
        assert {site.value for site in sites(graph)} <= set(stats.values)
        for name, found in stats.values.items():
            assert found.low == pytest.approx(float(seen[name].min()), rel=1e-4, abs=1e-4)
            assert found.high == pytest.approx(float(seen[name].max()), rel=1e-4, abs=1e-4)


def test_batches_may_come_from_a_generator_that_is_read_once():
    stats = collect(prepared("vit"), (images("vit", 2, seed).numpy() for seed in range(3)))
    assert stats.images == 6


def test_a_range_knows_its_magnitude():
    seen = Range()
    seen.update(torch.tensor([[-3.0, 1.0], [0.0, 2.0]]))
    assert (seen.low, seen.high, seen.magnitude) == (-3.0, 2.0, 3.0)


def test_no_images_are_refused():
    with pytest.raises(MptqError, match="no images"):
        collect(prepared("vit"), [])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(bad: float):
    x = images("vit", 2).numpy()
    x[1, 0, 3, 3] = bad
    with pytest.raises(MptqError, match=r"^\S+: calibration gives a value that is not finite"):
        collect(prepared("vit"), [x])


def test_an_overflow_inside_is_named_by_its_layer():
    graph = prepared("vit")
    norm = graph["blocks.1.norm1"]
    huge = replace(norm, params={**norm.params, "weight": torch.full((32,), 3e38)})
    with pytest.raises(MptqError, match=r"^blocks\.1\.(norm1|attn\.qkv): calibration"):
        collect(graph.updated({norm.name: huge}), [images("vit", 2).numpy()])
