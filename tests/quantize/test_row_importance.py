"""Rows count by how much the logits depend on them."""

from dataclasses import replace

import pytest
import torch
from tiny_models import CLASSES, KINDS, captured, images, prepared

from mptq_export.capture.blocks import split_blocks
from mptq_export.capture.evaluate import compute, evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Linear, PatchEmbed
from mptq_export.quantize.objective.row_importance import row_importance

IMAGES = 6


def importance(graph: Graph, kind: str, *splits: int) -> dict[str, torch.Tensor]:
    return row_importance(graph, torch.split(images(kind, IMAGES, 3), list(splits or (IMAGES,))))


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_gets_weights_of_mean_1(kind: str):
    graph = prepared(kind)
    found = importance(graph, kind)
    assert set(found) == {node.name for node in graph if isinstance(node.op, Linear | PatchEmbed)}
    for name, weights in found.items():
        assert weights.dtype == torch.float64, name
        assert weights.dim() == 1, name
        assert not weights.requires_grad, name
        assert float(weights.mean()) == pytest.approx(1, abs=1e-4), name
        assert float(weights.min()) >= 0.5, name


def test_there_is_one_weight_a_row():
    graph = prepared("vit")
    rows: dict[str, int] = {}
    evaluate(graph, images("vit", IMAGES), lambda node, value: rows.update({node.name: value[..., 0].numel()}))
    for name, weights in importance(graph, "vit").items():
        assert len(weights) == rows[name], name


@pytest.mark.parametrize("kind", ["vit", "deit_distilled", "dinov2"])
def test_rows_that_cannot_reach_the_logits_get_the_equal_share_alone(kind: str):
    graph = captured(kind)  # before the last block is cut to its class token
    found = importance(graph, kind)
    heads = 2 if kind == "deit_distilled" else 1
    weights = found["blocks.1.mlp.fc1"].reshape(IMAGES, -1)
    assert weights.shape[1] > 10
    assert (weights[:, heads:] == 0.5).all()
    assert (weights[:, :heads] > 0.5).all()
    # One block earlier, attention carries them to the class token.
    assert (found["blocks.0.mlp.fc1"] > 0.5).all()


def test_rows_matter_that_the_logits_see_only_through_keys_and_values():
    weights = importance(captured("vit"), "vit")["blocks.1.attn.qkv"]
    assert (weights > 0.5).all()


def test_a_layer_that_the_logits_ignore_counts_all_rows_alike():
    graph = captured("vit")
    head = next(node for node in graph if isinstance(node.op, Linear) and node.shape.dims[-1] == CLASSES)
    mute = replace(head, params={**head.params, "weight": torch.zeros_like(head.params["weight"])})
    found = importance(graph.updated({head.name: mute}), "vit")
    assert torch.equal(found["blocks.0.mlp.fc1"], torch.ones_like(found["blocks.0.mlp.fc1"]))
    assert (found[head.name] > 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_block_by_block_is_the_same_as_all_at_once(kind: str):
    graph = prepared(kind)
    found = importance(graph, kind)
    blocks = split_blocks(graph, whole=True)
    assert blocks[-1].result == graph.output
    for name, weights in row_importance(graph, [images(kind, IMAGES, seed=3)], blocks).items():
        torch.testing.assert_close(weights, found[name], rtol=1e-10, atol=0, msg=name)


def test_the_same_weights_every_time():
    graph = prepared("vit")
    torch.manual_seed(1)
    first = importance(graph, "vit", 4, 2)
    torch.manual_seed(2)
    again = importance(graph, "vit", 4, 2)
    for name, weights in first.items():
        assert torch.equal(weights, again[name]), name


@pytest.mark.parametrize("kind", ["vit", "swin"])  # windows are cut out of each image: its rows stay together
def test_rows_are_in_the_order_of_the_images_however_they_are_split(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.linspace(-1, 2, shape[-1]).expand(shape))
    graph = prepared(kind)
    whole = importance(graph, kind)
    for splits in ((1,) * IMAGES, (4, 2), (1, 5)):
        for name, weights in importance(graph, kind, *splits).items():
            torch.testing.assert_close(weights, whole[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_what_is_too_large_for_memory_goes_through_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch):
    graph = prepared(kind)
    whole = importance(graph, kind)
    for limit in ("_MOST", "_WHOLE"):
        monkeypatch.setattr(f"mptq_export.quantize.objective.row_importance.{limit}", 1.0)
    for name, weights in importance(graph, kind).items():
        assert torch.allclose(weights, whole[name], rtol=1e-9), name


def test_an_error_in_rows_that_count_more_moves_the_logits_more():
    graph, x = captured("vit"), images("vit", IMAGES, 3)
    name = "blocks.0.mlp.fc2"
    weights = importance(graph, "vit")[name].reshape(IMAGES, -1)

    def moved(position: int) -> float:
        generator = torch.Generator().manual_seed(0)

        def disturbed(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
            value = compute(node, inputs)
            if node.name == name:
                value = value.clone()
                value[:, position] += 0.1 * torch.randn(value[:, position].shape, generator=generator)
            return value

        with torch.no_grad():
            p, q = (evaluate(graph, x, compute_node=step).log_softmax(-1) for step in (compute, disturbed))
        return float((p.exp() * (p - q)).sum(-1).mean())

    mean = weights.mean(0)
    assert int(mean.argmax()) == 0  # the class token
    assert moved(0) > 2 * moved(int(mean.argmin()))
