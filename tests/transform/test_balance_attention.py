"""Balanced attention: the same function, with q as large as k and v as large as what the projection asks for."""

from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import KINDS, MEAN, STD, images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear
from mptq_export.capture.run import capture
from mptq_export.transform.balance_attention import balance_attention, balancing_matrix
from mptq_export.transform.flat_basis import cosine_basis
from mptq_export.transform.prepare import prepare

TOLERANCE = 1e-5


def values(graph: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        evaluate(graph, x, lambda node, value: seen.update({node.name: value}))
    return seen


def rows(graph: Graph, name: str, x: torch.Tensor) -> torch.Tensor:
    value = values(graph, x)[name]
    return value.reshape(-1, value.shape[-1])


def balanced(graph: Graph, name: str, x: torch.Tensor) -> Graph:
    return balance_attention(graph, graph[name], rows(graph, name, x))


def moment(x: torch.Tensor) -> torch.Tensor:
    return x.double().T @ x.double() / len(x)


def positive(size: int, seed: int) -> torch.Tensor:
    """A second moment whose eigenvalues differ widely: float64 [size, size]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * size, size, generator=generator).double()
    x = x @ torch.randn(size, size, generator=generator).double()
    return x.T @ x / len(x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_the_same(kind: str):
    graph, x = prepared(kind), images(kind, 8)
    fresh = images(kind, 4, seed=8)
    expected = evaluate(graph, fresh)
    names = [node.name for node in graph if isinstance(node.op, Linear)]
    changed = graph
    for name in names:
        step = balanced(changed, name, x)
        assert (step is changed) == (not name.endswith("qkv")), name
        changed = step
    found = evaluate(changed, fresh)
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_only_q_k_v_and_the_projection_are_changed(kind: str):
    graph = prepared(kind)
    name = next(node.name for node in graph if isinstance(node.op, Linear) and node.name.endswith("qkv"))
    changed = balanced(graph, name, images(kind, 8))
    touched = {node.name for node in graph if changed[node.name] is not node}
    assert touched == {name, name.replace("qkv", "proj")}


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_q_and_k_have_the_same_even_second_moment(kind: str):
    graph, x = prepared(kind), images(kind, 16)
    name, heads, width = "blocks.0.attn.qkv", *graph["blocks.0.attn.scores"].shape.dims[1:2], 0
    total = graph[name].shape.dims[-1] // 3
    width = total // heads
    before, after = rows(graph, name, x), rows(balanced(graph, name, x), name, x)
    for head in range(heads):
        q, k = (slice(part * total + head * width, part * total + (head + 1) * width) for part in (0, 1))
        first, second = moment(after[:, q]), moment(after[:, k])
        assert (first - second).abs().max() <= 0.02 * first.diagonal().mean()
        assert first.diagonal().max() <= 2.01 * first.diagonal().mean()
        assert after[:, k].mean(0).abs().max() <= 1e-3 * after[:, k].abs().max()
        cost = first.trace() * second.trace()
        plain = moment(before[:, q]).trace() * moment(before[:, k] - before[:, k].mean(0)).trace()
        assert cost <= plain * 1.001


def test_v_has_the_second_moment_of_what_the_projection_asks_for():
    graph, x = prepared("vit"), images("vit", 16)
    name, proj = "blocks.0.attn.qkv", "blocks.0.attn.proj"
    changed = balanced(graph, name, x)
    after, weight = rows(changed, name, x), changed[proj].params["weight"]
    for head in range(2):
        v = after[:, 64 + head * 16 : 64 + (head + 1) * 16]
        asked = moment(weight[:, head * 16 : (head + 1) * 16])
        assert (moment(v) - asked).abs().max() <= 0.02 * asked.diagonal().mean()
        assert asked.diagonal().max() <= 2.01 * asked.diagonal().mean()
        assert v.mean(0).abs().max() <= 1e-3 * v.abs().max()


def test_uneven_channels_become_even():
    graph, x = prepared("vit"), images("vit", 16)
    name = "blocks.0.attn.qkv"
    qkv = graph[name]
    factor = torch.ones(96)
    factor[3], factor[32 + 3] = 50.0, 1 / 50.0  # one channel of q is large and its partner in k small
    params = {"weight": qkv.params["weight"] * factor[:, None], "bias": qkv.params["bias"] * factor}
    uneven = graph.updated({name: type(qkv)(**{**qkv.__dict__, "params": params})})
    before, after = rows(uneven, name, x)[:, :16], rows(balanced(uneven, name, x), name, x)[:, :16]
    for part, low, high in ((before, 10, 1e9), (after, 0, 2.01)):
        square = part.square().mean(0)
        assert low <= square.max() / square.mean() <= high
    fresh = images("vit", 3, seed=8)
    expected, found = evaluate(uneven, fresh), evaluate(balanced(uneven, name, x), fresh)
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_q_and_k_that_go_through_a_norm_are_left_alone():
    kwargs: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    model = (
        timm.create_model("vit_tiny_patch16_224", qk_norm=True, num_classes=5, **kwargs).eval().requires_grad_(False)
    )
    graph = prepare(capture(model, (3, 32, 32)), images("vit", 2), (MEAN, STD))
    name = "blocks.0.attn.qkv"
    changed = balanced(graph, name, images("vit", 8))
    for key in ("weight", "bias"):
        assert torch.equal(changed[name].params[key][:64], graph[name].params[key][:64])
    found, expected = (evaluate(g, images("vit", 3, seed=8)) for g in (changed, graph))
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 24), st.integers(0, 2**16))
def test_the_matrix_makes_both_moments_one(size: int, seed: int):
    first, second = positive(size, seed), positive(size, seed + 1)
    matrix = balancing_matrix(first, second)
    inverse = torch.linalg.inv(matrix)
    a, b = matrix @ first @ matrix.T, inverse.T @ second @ inverse
    scale = a.diagonal().mean()
    assert (a - b).abs().max() <= 0.05 * scale  # up to the damping
    assert a.diagonal().max() <= 2.05 * scale
    assert torch.allclose(inverse.T @ matrix.T, torch.eye(size).double(), atol=1e-6)
    assert a.trace() * b.trace() <= first.trace() * second.trace() * 1.001


@pytest.mark.parametrize("dead", [1, 5, 8])
def test_channels_without_any_variance_do_not_break_it(dead: int):
    first, second = positive(8, 0), positive(8, 1)
    for part in (first, second):
        part[:dead] = 0
        part[:, :dead] = 0
    for pair in ((first, second), (first, positive(8, 2)), (positive(8, 2), second)):
        matrix = balancing_matrix(*pair)
        assert torch.isfinite(matrix).all()
        assert torch.isfinite(torch.linalg.inv(matrix)).all()


@pytest.mark.parametrize("size", [1, 2, 3, 16, 64])
def test_the_rotation_is_orthogonal_and_mixes_all(size: int):
    matrix = cosine_basis(size)
    assert matrix.dtype == torch.float64
    assert torch.allclose(matrix @ matrix.T, torch.eye(size).double(), atol=1e-12)
    assert matrix.square().max() <= 2 / size + 1e-12  # no channel takes more than twice its share


def test_heads_become_alike_and_even():
    a, b = positive(16, 3), positive(16, 4)
    matrix = balancing_matrix(a, b)
    first, second = matrix @ a @ matrix.T, torch.linalg.inv(matrix).T @ b @ torch.linalg.inv(matrix)
    assert (first - second).abs().max() <= 0.01 * first.diagonal().mean()
    assert first.diagonal().max() <= 2.01 * first.diagonal().mean()
