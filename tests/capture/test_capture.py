"""The captured graph is the model, under timm's names."""

import pytest
import timm
import torch
from tiny_models import KINDS, captured, images, tiny
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import StochasticDepth

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.ops import Add, Constant, LayerNorm, Linear, Mul, PatchEmbed, Roll, Softmax
from mptq_export.capture.run import capture
from mptq_export.capture.score_path import score_path
from mptq_export.support.errors import MptqError

SIZE = (3, 16, 16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_graph_computes_what_the_model_computes_at_any_batch(kind: str, batch: int):
    x = images(kind, batch, seed=5)
    with torch.no_grad():
        expected, got = tiny(kind)(x), evaluate(captured(kind), x)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_has_the_shape_that_its_node_says(kind: str):
    wrong = []

    def observe(node, value):
        expected = node.shape.at(3) if node.shape.batch_axis is not None else node.shape.dims
        if tuple(value.shape) != expected:
            wrong.append((node.name, tuple(value.shape), expected))

    with torch.no_grad():
        evaluate(captured(kind), images(kind, 3), observe)
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_linears_and_norms_are_named_by_module_path(kind: str):
    modules = dict(tiny(kind).named_modules())
    wanted = {
        Linear: {name for name, module in modules.items() if isinstance(module, nn.Linear)},
        LayerNorm: {name for name, module in modules.items() if isinstance(module, nn.LayerNorm)},
        PatchEmbed: {name for name, module in modules.items() if isinstance(module, nn.Conv2d)},
    }
    for op, names in wanted.items():
        assert {node.name for node in captured(kind) if isinstance(node.op, op)} == names


def test_the_rest_of_an_attention_is_named_after_its_module():
    names = {node.name for node in captured("vit")}
    assert {"blocks.0.attn.scores", "blocks.0.attn.softmax", "blocks.0.attn.context", "blocks.1.mlp.act.gelu"} <= names


def test_position_bias_and_window_mask_become_constants_on_the_score_path():
    graph = captured("swin")
    assert sum(isinstance(node.op, Roll) for node in graph) == 2  # one block of stage 0 is shifted, there and back
    added = {}
    for softmax in (node for node in graph if isinstance(node.op, Softmax)):
        steps = [step for step in score_path(graph, softmax)[1] if isinstance(step.op, Add)]
        constants = [graph[name] for step in steps for name in step.inputs if isinstance(graph[name].op, Constant)]
        added[softmax.name] = [float(node.params["value"].min()) for node in constants]
    plain, shifted, *rest = added.values()
    assert [len(values) for values in (plain, shifted, *rest)] == [1, 2, 1, 1]
    assert min(plain) > -10
    assert min(shifted) == -100  # timm's mask of windows that wrap around


def test_layer_scale_is_a_product_with_a_constant():
    factors = [node for node in captured("dinov2") if isinstance(node.op, Mul) and ".ls" in node.name]
    assert len(factors) == 4
    assert torch.equal(factors[0].params["value"].flatten(), tiny("dinov2").blocks[0].ls1.gamma)


class Wrapped(nn.Module):
    """A module `inner` that runs one function."""

    def __init__(self, function):
        super().__init__()
        self.inner = Inner(function)

    def forward(self, x):
        return self.inner(x)


class Inner(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.grouped = nn.ConvTranspose2d(3, 3, 2, groups=3)

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda m, x: torch.sinh(x), ("inner", "sinh")),
        (lambda m, x: torch.cumsum(x, 2), ("inner", "cumsum")),
        (lambda m, x: m.grouped(x), ("inner.grouped", "transposed convolution with groups")),
        (lambda m, x: x.norm(dim=-1, keepdim=True) + 1, ("inner", "norm", "not supported where it is read")),
        (lambda m, x: x.softmax(0), ("inner", "softmax over the batch")),
        (lambda m, x: x.mean((0, 3)), ("inner", "mean over the batch")),
        (lambda m, x: x.sum(0), ("inner", "sum over the batch")),
        (lambda m, x: torch.conv1d(x.flatten(2), torch.ones(3, 3, 3), padding=1), ("inner", "kernel of one only")),
        (lambda m, x: nn.functional.max_pool2d(x, 3, 2, ceil_mode=True), ("inner", "ceil_mode", "build the model")),
        (lambda m, x: nn.functional.group_norm(x.flatten(2), 3), ("inner", "group norm of 3 axes")),
        (lambda m, x: x[:, :, 1::3], ("inner", "step 3")),
        (lambda m, x: nn.functional.pad(x, (1, 1), value=1.0), ("inner", "padding")),
        (lambda m, x: x.amax((0, 1)), ("inner", "maximum over the batch")),
        (lambda m, x: x / x.sum(), ("inner", "not supported")),
    ],
)
def test_an_op_without_a_place_is_named_with_its_module(function, words: tuple[str, ...]):
    with pytest.raises(MptqError) as caught:
        capture(Wrapped(function).eval(), SIZE)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_supported_op_of_the_same_shape_is_captured():
    graph = capture(Wrapped(lambda m, x: (x * 2.0).transpose(1, 3) + 1.0).eval(), SIZE)
    x = torch.randn(3, *SIZE)
    assert torch.allclose(evaluate(graph, x), (x * 2).transpose(1, 3) + 1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda m, x: (x, x), "returns 2 tensors"),
        (lambda m, x: x if x.sum() > 0 else -x, "cannot be captured"),
    ],
)
def test_what_cannot_be_one_graph_is_refused(function, words: str):
    with pytest.raises(MptqError, match=words):
        capture(Wrapped(function).eval(), SIZE)


def test_a_real_model_with_a_hard_sigmoid_inside_is_refused_by_its_module():
    model = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    with pytest.raises(MptqError, match=r"^blocks.0.0.se.gate .*uses aten.hardsigmoid"):
        capture(model, (3, 64, 64))


def _normalised(x: torch.Tensor) -> torch.Tensor:
    mixed = 0.3 * x.softmax(-1) + torch.arange(16.0)
    return mixed / mixed.sum(-1, keepdim=True)


def _written(x: torch.Tensor) -> torch.Tensor:
    y = x * 2.0
    y[:, :, 1:, 2:5] = y[:, :, 1:, 2:5] + x[:, :, 1:, :3]
    return y


def _folded(x: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    columns = nn.functional.unfold(x, 3, padding=padding, stride=stride)
    return nn.functional.fold(columns * 0.5, x.shape[2:], 3, padding=padding, stride=stride)


_CONV = torch.nn.functional.conv2d
_DECONV = torch.nn.functional.conv_transpose2d
_POOL = torch.nn.functional.avg_pool2d
_DEEP = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(2))
_PATCH = torch.randn(3, 5, 2, 2, generator=torch.Generator().manual_seed(3))
_KERNEL = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(4))
_TABLE = torch.randn(16, 5, 16, generator=torch.Generator().manual_seed(1))
_WEIGHT = torch.randn(6, 3, 3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: _CONV(x, _WEIGHT, padding=(1, 2)),
        lambda x: _CONV(x, _WEIGHT[..., :2], torch.arange(6.0), stride=(3, 2)),
        lambda x: _CONV(_CONV(x, _WEIGHT), _WEIGHT[:4, :, :2], stride=2, groups=2),
        lambda x: _CONV(_CONV(x, _WEIGHT[:, :, :2], stride=2), torch.ones(2, 6, 2, 2), stride=2),  # tiles
        lambda x: _CONV(nn.functional.pad(x, (1, 0, 2, 3)), _WEIGHT),
        lambda x: nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2)).transpose(1, 2),
        lambda x: nn.functional.max_pool2d(x - 5, 3, 2, 1),
        lambda x: nn.functional.max_pool2d(nn.functional.pad(x - 5, (0, 1, 0, 1), value=-float("inf")), 3, 2),
        lambda x: nn.functional.unfold(x, (3, 2), padding=1, stride=2),
        lambda x: _CONV(x, _WEIGHT, padding="same"),
        lambda x: _CONV(x, _WEIGHT, padding="valid", stride=2),
        lambda x: _CONV(x, _WEIGHT, padding=(2, 3), dilation=(2, 3)),
        lambda x: _CONV(x, _DEEP[:3], padding="same", dilation=2, groups=3),
        lambda x: _DECONV(x, _PATCH, torch.arange(5.0), stride=2),  # nothing overlaps
        lambda x: _DECONV(x, _KERNEL, torch.arange(5.0), stride=2, padding=1),
        lambda x: _DECONV(x, _KERNEL, stride=(3, 2), padding=(2, 1), output_padding=(1, 0)),
        lambda x: _DECONV(x, _KERNEL, stride=1, padding=(0, 3)),
        lambda x: _DECONV(x, _PATCH, stride=5),  # and gaps
        lambda x: nn.functional.interpolate(x, (11, 20), mode="bicubic"),
        *(
            lambda x, how=how: nn.functional.interpolate(nn.functional.relu(x), **how)
            for how in (
                {"scale_factor": 2, "mode": "bilinear"},
                {"scale_factor": (1.3, 0.77), "mode": "bilinear"},  # sizes are rounded, the factors are not
                {"size": (21, 15), "mode": "bilinear", "align_corners": True},
                {"size": (7, 33), "mode": "bicubic", "antialias": True},
                {"size": (7, 33), "mode": "bilinear", "antialias": True},
                {"scale_factor": 1.7},
                {"size": (5, 40), "mode": "nearest-exact"},
                {"size": (5, 6), "mode": "area"},
            )
        ),
        lambda x: x.sigmoid() * 2 - 1,
        nn.functional.leaky_relu,
        lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1),
        lambda x: x.permute(0, 2, 3, 1)[:, ::3, ::5],
        lambda x: x.amax(2) + x.amax(-1, keepdim=True).squeeze(-1) + x.amax((1, -1))[:, :, None].transpose(1, 2),
        lambda x: torch.einsum("bchw,hkw->bkch", x, _TABLE),
        lambda x: torch.batch_norm(
            x, None, torch.ones(3), torch.arange(3.0), torch.arange(1.0, 4.0), False, 0.1, 1e-5, False
        ),
        lambda x: _CONV(x, _DEEP[:3], torch.arange(3.0), padding=1, groups=3),
        lambda x: _CONV(x, _DEEP, stride=2, padding=(0, 1), groups=3),  # two channels from each
        lambda x: _CONV(x, _DEEP[:3, :, 1:, :1], stride=(2, 1), groups=3),
        lambda x: torch.conv1d(x.flatten(2), _DEEP[:3, 0, :, :1], torch.arange(3.0)),
        lambda x: _POOL(x, 2),
        lambda x: _POOL(x, 3, 1, 1),
        lambda x: _POOL(x, 3, 2, 1, count_include_pad=False),
        lambda x: _POOL(x, (3, 5), 3, (1, 2), ceil_mode=True),
        lambda x: _POOL(x, (3, 5), 3, (0, 2), ceil_mode=True, count_include_pad=False),
        lambda x: _POOL(x, 3, 2, divisor_override=5),
        lambda x: _POOL(x, 1, 2),
        lambda x: nn.functional.adaptive_avg_pool2d(x, (8, 4)),
        lambda x: nn.functional.adaptive_avg_pool2d(x, (7, 3)),
        lambda x: nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
        lambda x: nn.functional.group_norm(_CONV(x, _WEIGHT), 2, torch.arange(6.0), torch.arange(6.0) - 3),
        lambda x: nn.functional.group_norm(x, 1),
        lambda x: _folded(x, 1, 1),
        lambda x: _folded(x, 2, 1),
        lambda x: _folded(x, 3, 0),
        lambda x: nn.functional.pixel_shuffle(x.reshape(-1, 12, 8, 8), 2),
        lambda x: x.softmax(1).transpose(1, 2),
        lambda x: x.mean((1, 3)) + x.sum((1, 3)),
        lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
        lambda x: nn.functional.relu(x) * x.sum(-1, keepdim=True).expand_as(x),
        lambda x: x.repeat_interleave(2, 0),
        lambda x: x.max(1)[0] + x.max(-1, keepdim=True)[0].squeeze(-1)[:, :1],
        _written,
        _normalised,
        nn.functional.hardswish,
        torch.tanh,
    ],
)
def test_convolutions_and_what_stands_beside_them_are_captured(function):
    x = torch.randn(3, *SIZE)
    found, wanted = evaluate(capture(Wrapped(lambda _, y: function(y)).eval(), SIZE), x), function(x)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_backbone_that_torch_fx_cut_out_is_captured_as_it_is_in_evaluation():
    whole = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), StochasticDepth(0.5, "row"), nn.Flatten(), nn.Linear(64, 2))
    model = create_feature_extractor(whole, {"2": "map"}).eval()
    graph = capture(_Map(model).eval(), SIZE)
    x = torch.randn(3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(evaluate(graph, x), model(x)["map"])


class _Map(nn.Module):
    """One map of a backbone."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x)["map"]
        return found
