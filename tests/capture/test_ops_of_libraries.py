"""What other libraries' modules are written with: each is captured, and computes the same at any batch."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mptq_export.capture.compare_batches import check_capture
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Activation, Add, Concat, Constant, LayerNorm, Linear, Matmul, Mul, Permute, Softmax
from mptq_export.capture.run import capture
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare

SIZE = (3, 8, 8)
Function = Callable[["Inner", torch.Tensor], torch.Tensor]


class Inner(nn.Module):
    """Runs a function on tokens [B, 16, 12], which a patch embedding gives."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.patch, self.function = nn.Conv2d(3, 12, 2, 2), function
        self.query = nn.Parameter(torch.randn(1, 1, 12))
        self.table = nn.Parameter(torch.randn(16, 12))
        self.matrix = nn.Parameter(torch.randn(12, 5))
        self.heads = nn.Parameter(torch.randn(3, 4, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, self.patch(x).flatten(2).transpose(1, 2))


def model(function: Function) -> nn.Module:
    torch.manual_seed(0)
    return Inner(function).eval().requires_grad_(False)


def checked(function: Function) -> Graph:
    """The captured graph, compared with the model at batches of 1, 2, 3 and 5, as captured and prepared."""
    inner, images = model(function), torch.randn(5, *SIZE, generator=torch.Generator().manual_seed(1))
    graph = capture(inner, SIZE)
    check_capture(graph, inner, images)
    with torch.no_grad():
        expected = inner(images)
        for found in (evaluate(graph, images), evaluate(prepare(graph, images), images)):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    return graph


def heads(x: torch.Tensor) -> torch.Tensor:
    """[B, 3, 16, 4]."""
    return x.unflatten(2, (3, 4)).transpose(1, 2)


def rows(x: torch.Tensor) -> torch.Tensor:
    """Heads as torch's own attention has them: [B * 3, 16, 4]."""
    return heads(x).reshape(-1, 16, 4)


def scores(x: torch.Tensor) -> torch.Tensor:
    return heads(x) @ heads(x).transpose(-1, -2)


MASK = torch.arange(16)[:, None] >= torch.arange(16)
FUNCTIONS: dict[str, Function] = {
    "swapaxes": lambda m, x: x.swapaxes(1, 2),
    "movedim": lambda m, x: heads(x).movedim(1, 3),
    "moveaxis": lambda m, x: heads(x).moveaxis((1, 2), (2, 3)),
    "mT": lambda m, x: x.mT,
    "narrow": lambda m, x: x.narrow(1, 3, 5),
    "squeeze": lambda m, x: x[:, :1].squeeze(1),
    "flip": lambda m, x: x.flip(1),
    "repeat": lambda m, x: x.repeat(1, 2, 3),
    "repeat with a new axis": lambda m, x: x.mean(1).unsqueeze(1).repeat(1, 4, 1),
    "expand": lambda m, x: x.mean(1, keepdim=True).expand(-1, 16, -1).reshape(-1, 4, 48),
    "expand that sums broadcast": lambda m, x: x.mean(1, keepdim=True).expand(-1, 16, -1) + x,
    "positions by constant numbers": lambda m, x: x[:, torch.tensor([3, 4, 5, 0])],
    "index_select": lambda m, x: x.index_select(1, torch.tensor([1, 2, 7])),
    "gather of whole rows": lambda m, x: x.gather(
        1, torch.tensor([5, 6, 2]).reshape(1, 3, 1).expand(x.shape[0], 3, 12)
    ),
    "new_zeros that is filled": lambda m, x: x + torch.cat([x.new_ones(1, 8, 12), x.new_zeros(1, 8, 12)], 1),
    "zeros_like": lambda m, x: torch.cat([torch.zeros_like(x[:, :2]), x], 1),
    "full and tril": lambda m, x: x + x.new_full((16, 12), 2.0).tril(),
    "rsub": lambda m, x: 1 - x,
    "a difference with alpha": lambda m, x: torch.sub(m.table, x, alpha=0.5),
    "a sum with alpha": lambda m, x: torch.add(x, m.table, alpha=3),
    "a sum with 0": lambda m, x: 0 + x,
    "lerp": lambda m, x: torch.lerp(x, x * x, m.query.sigmoid()),
    "where of two values": lambda m, x: torch.where(MASK[:, :12], x, -x),
    "where of a value and a number": lambda m, x: torch.where(MASK[:, :12], x, 2.0),
    "masked_fill": lambda m, x: x.masked_fill(MASK[:, :12], 3.0),
    "a sigmoid that is read as a value": lambda m, x: x.sigmoid() + 1,
    "a gate that is broadcast": lambda m, x: x * x.mean(1).sigmoid().unsqueeze(1),
    "mm with a matrix of weights": lambda m, x: x.mean(1) @ m.matrix,
    "addmm": lambda m, x: torch.addmm(m.matrix[0], x.mean(1), m.matrix, beta=2),
    "bmm": lambda m, x: torch.bmm(x, x.transpose(1, 2)),
    "baddbmm with a constant": lambda m, x: torch.baddbmm(m.table[:, :1], rows(x), rows(x).mT, alpha=0.5),
    "a product with a query": lambda m, x: m.query.expand(x.shape[0], -1, -1).bmm(x.mT),
    "a product with a query of every head": lambda m, x: (
        rows(m.query.repeat(x.shape[0], 16, 1))[:, :2].bmm(rows(x).mT).reshape(x.shape[0], -1)
    ),
    "einsum of rows": lambda m, x: torch.einsum("bn,bnd->bd", x.mean(2), x),
    "einsum over two axes": lambda m, x: torch.einsum("bhnd,bhmd->bnm", heads(x), heads(x)),
    "einsum with weights": lambda m, x: torch.einsum("bnd,dk->bkn", x, m.matrix),
    "einsum with weights of every head": lambda m, x: torch.einsum("bhnd,hde->bnhe", heads(x), m.heads),
    "einsum with weights over two axes": lambda m, x: torch.einsum("bhnd,hde->bne", heads(x), m.heads),
    "softmax of a filled mask": lambda m, x: scores(x).masked_fill(~MASK, -math.inf).softmax(-1),
    "softmax of the lowest number": lambda m, x: (
        scores(x).masked_fill(~MASK, torch.finfo(torch.float32).min).softmax(-1)
    ),
    "a mask repeated for every image": lambda m, x: (
        rows(x).bmm(rows(x).mT) + MASK.float().expand(x.shape[0], 3, 16, 16).reshape(-1, 16, 16)
    ),
    "a factor repeated for every image": lambda m, x: (
        rows(x) * m.table[:, :4].expand(x.shape[0], 3, 16, 4).reshape(-1, 16, 4)
    ),
    "a token of every head": lambda m, x: torch.cat([x.new_ones(x.shape[0] * 3, 1, 4), rows(x)], 1).reshape(
        x.shape[0], -1
    ),
    "causal attention": lambda m, x: nn.functional.scaled_dot_product_attention(
        heads(x), heads(x), heads(x), is_causal=True
    ),
    "attention with a boolean mask": lambda m, x: nn.functional.scaled_dot_product_attention(
        heads(x), heads(x), heads(x), attn_mask=MASK
    ),
    "an RMS norm": lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * m.query[0, 0],
    "a layer norm of channels first": lambda m, x: _channel_norm(x.mT, 1, m.query.mT).mT,
    "a layer norm by the mean of squares": lambda m, x: (
        (x - x.mean(-1, keepdim=True)) / ((x - x.mean(-1, keepdim=True)).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    ),
    "an unbiased variance": lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-3).sqrt(),
    "pooling of tokens to one": lambda m, x: nn.functional.adaptive_avg_pool1d(x.mT, 1),
    "pooling of tokens to some": lambda m, x: nn.functional.adaptive_avg_pool1d(x.mT, 4),
    "pooling of tokens to an odd number": lambda m, x: nn.functional.adaptive_avg_pool1d(x.mT, 5),
    "under no_grad and autocast": lambda m, x: _in_a_region(x),
}


def _channel_norm(x: torch.Tensor, axis: int, gain: torch.Tensor) -> torch.Tensor:
    variance, mean = x.var(axis, unbiased=False, keepdim=True), x.mean(axis, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * gain + gain.flip(1)


@torch.autocast("cpu", enabled=False)
def _in_a_region(x: torch.Tensor) -> torch.Tensor:
    angles = torch.outer(torch.arange(16.0), torch.ones(12))
    return x * angles.cos() + 2


def all_of(m: Inner, x: torch.Tensor) -> list[torch.Tensor]:
    """What every function gives, [B, values]."""
    return [function(m, x).reshape(x.shape[0], -1) for function in FUNCTIONS.values()]


class Everything(Inner):
    """All of `FUNCTIONS` side by side: one capture for all of them."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: torch.cat(all_of(m, x), 1))


@pytest.fixture(scope="module")
def both() -> list[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """What each function gives by the captured and by the prepared graph, for one image and for three, and should."""
    torch.manual_seed(0)
    whole, images = Everything().eval().requires_grad_(False), torch.randn(3, *SIZE)
    captured = capture(whole, SIZE)
    probe = torch.randn(5, *SIZE)
    check_capture(captured, whole, probe)
    found = []
    with torch.no_grad():
        for graph in (captured, prepare(captured, probe)):
            for batch in (1, 3):
                tokens = whole.patch(images[:batch]).flatten(2).transpose(1, 2)
                wanted = all_of(whole, tokens)
                parts = torch.split(evaluate(graph, images[:batch]), [each.shape[1] for each in wanted], 1)
                found.append(dict(zip(FUNCTIONS, zip(parts, wanted, strict=True), strict=True)))
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_computes_the_same_at_any_batch(name: str, both: list[dict[str, tuple[torch.Tensor, torch.Tensor]]]):
    for found, wanted in (each[name] for each in both):
        assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def kinds(name: str) -> list[type]:
    return [type(node.op) for node in checked(FUNCTIONS[name])]


def test_a_product_with_a_matrix_is_a_linear_layer():
    for name in ("mm with a matrix of weights", "addmm", "einsum with weights", "einsum with weights over two axes"):
        assert Matmul not in kinds(name)
        assert Linear in kinds(name)


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if "norm" in name and "no_grad" not in name] + ["an unbiased variance"]
)
def test_a_norm_that_is_written_out_is_one_op(name: str):
    (norm,) = [node for node in checked(FUNCTIONS[name]) if isinstance(node.op, LayerNorm)]
    assert norm.op.centered == (name == "an RMS norm")


def test_gains_behind_a_norm_become_its_own():
    inner = model(FUNCTIONS["a layer norm of channels first"])
    graph = prepare(capture(inner, SIZE), torch.randn(5, *SIZE))
    assert not {Mul, Add, Constant} & {type(node.op) for node in graph}


def test_a_sum_with_nothing_is_left_out():
    assert not {Add, Constant} & set(kinds("a sum with 0"))


def test_a_mask_that_is_filled_is_added_to_the_scores():
    found = kinds("softmax of a filled mask")
    assert Mul not in found
    assert found.index(Add) == found.index(Softmax) - 1


def test_positions_in_their_own_order_are_the_value_itself():
    graph = checked(lambda m, x: x.gather(1, torch.arange(16).reshape(1, 16, 1).expand(x.shape[0], 16, 12)))
    assert Concat not in {type(node.op) for node in graph}


def test_a_gate_of_its_own_argument_stays_an_activation_function():
    (only,) = [node.op for node in checked(lambda m, x: x * x.sigmoid()) if isinstance(node.op, Activation)]
    assert only.function == "silu"


def test_axes_that_are_in_order_are_not_moved():
    graph = checked(lambda m, x: x.movedim(1, 1))
    assert sum(isinstance(node.op, Permute) for node in graph) == sum(
        isinstance(node.op, Permute) for node in checked(lambda m, x: x)
    )


def test_a_slice_across_the_rows_of_a_map_is_kept():
    checked(lambda m, x: x[:, 3:6].reshape(x.shape[0], -1))


REFUSED: dict[str, tuple[Function, str]] = {
    "random numbers": (lambda m, x: x + torch.rand(16, 12), "draws random numbers"),
    "a mask of the image": (lambda m, x: x.masked_fill(x > 0, 1.0), "depends on the image|no place"),
    "positions of the image": (lambda m, x: x.gather(1, (x > 0).long()), "depend on the image|no place"),
    "other positions in every channel": (
        lambda m, x: x.gather(1, (torch.arange(48).reshape(1, 4, 12) % 16).expand(x.shape[0], 4, 12)),
        "other numbers for other channels",
    ),
    "a standard deviation with an eps": (
        lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True).sqrt() + 1e-5),
        "adds its eps to the variance",
    ),
    "another value's deviation": (
        lambda m, x: x / (x.var(-1, keepdim=True) + 1e-5).sqrt(),
        "standard deviation of another value",
    ),
    "a cube": (lambda m, x: x.pow(3), "the power 3"),
    "the root of a value": (lambda m, x: x.sqrt(), "in a norm only"),
    "one axis in an operand alone": (lambda m, x: torch.einsum("bnd,bmd->bn", x, x), "bnd,bmd->bn is not supported"),
    "images repeated": (lambda m, x: x.repeat(2, 1, 1)[: x.shape[0]], "repeats images"),
    "a constant that counts images": (
        lambda m, x: rows(x) + torch.arange(x.shape[0] * 3).float().reshape(-1, 1, 1),
        "not the same for every image",
    ),
    "a generator of its own": (
        lambda m, x: x + torch.rand(16, 12, generator=torch.Generator()),
        "an object that is no tensor",
    ),
    "several axes at once": (lambda m, x: x[:, torch.tensor([0, 1]), torch.tensor([0, 1])], "several axes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_is_refused_in_a_line(name: str):
    function, words = REFUSED[name]
    with pytest.raises(MptqError, match=words) as caught:
        checked(function)
    assert "\n" not in str(caught.value)
