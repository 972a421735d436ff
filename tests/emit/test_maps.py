"""What stands between convolutions: pooling, folds, group norm, gates of squeeze and excitation, and more."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model

SIZE = (3, 32, 32)
F = nn.functional


def folded(x: torch.Tensor, stride: int) -> torch.Tensor:
    return F.fold(F.unfold(x, 3, padding=1, stride=stride), x.shape[2:], 3, padding=1, stride=stride)


def written(x: torch.Tensor) -> torch.Tensor:
    y = x * 1.0
    y[:, :, 1:] = y[:, :, 1:] + x[:, :, :-1]
    return y


WEIGHTS = 0.1 * torch.randn(16, 16, 4, 4, generator=torch.Generator().manual_seed(3))

MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "group norm": lambda x: F.group_norm(x, 4, torch.linspace(0.5, 1.5, 16), torch.linspace(-1, 1, 16)),
    "one group": lambda x: F.group_norm(x, 1) + x,
    "mean of tiles": lambda x: F.avg_pool2d(x, 2),
    "mean of windows": lambda x: F.avg_pool2d(x, 3, 1, 1) - x,
    "mean of values alone": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "every second": lambda x: F.avg_pool2d(x, 1, 2),
    "uneven windows": lambda x: F.adaptive_avg_pool2d(x, 3),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bilinear between corners": lambda x: F.interpolate(x, (11, 19), mode="bilinear", align_corners=True) * 0.5,
    "antialiased bicubic": lambda x: F.relu(F.interpolate(x, (5, 6), mode="bicubic", antialias=True)),
    "nearest": lambda x: F.interpolate(x, scale_factor=2) + F.interpolate(x, (16, 16), mode="nearest-exact"),
    "a mean everywhere": lambda x: torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1),
    "transposed tiles": lambda x: F.conv_transpose2d(x, WEIGHTS[..., :2, :2], stride=2),
    "transposed": lambda x: F.conv_transpose2d(x, 5 * WEIGHTS, torch.linspace(-1, 1, 16), 2, 1),
    "dilated": lambda x: F.conv2d(x, WEIGHTS[..., :3, :3], padding="same", dilation=2),
    "dilated depthwise": lambda x: F.conv2d(x, WEIGHTS[:, :1, :3, :3], padding=3, dilation=3, groups=16),
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": lambda x: x.sigmoid() * 2 - 1,
    "fold": lambda x: folded(x, 1),
    "fold of apart windows": lambda x: folded(x, 2),
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "softmax over tokens": lambda x: x.flatten(2, 3)[:, :8].softmax(2) @ x.flatten(2, 3)[:, 8:].transpose(1, 2),
    "sum over tokens": lambda x: F.relu(x) * (x * x).sum(-1, keepdim=True).expand_as(x),
    "written": written,
    "repeated": lambda x: x.repeat_interleave(2, 0).reshape(-1, 32, *x.shape[2:]),
}


class Mapped(nn.Module):
    """A patch embedding, a layer over its channels, one of the functions, and a head over its mean."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.mix, self.function = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 1), function
        self.head = nn.LazyLinear(5)
        self.eval()(torch.zeros(1, *SIZE))
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.function(self.mix(self.stem(x)))
        return self.head(y.flatten(1, -2).mean(1))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("bits", "method"), [(8, MINMAX), (4, BEST)])
def test_every_tensor_is_exact_and_near_the_model(tmp_path: Path, name: str, bits: int, method: Method) -> None:
    model = Mapped(MAPS[name])
    coarse = torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    images = F.interpolate(coarse, SIZE[1:], mode="bilinear").contiguous()
    graph = prepare(capture(model, SIZE), images[:2])
    stats = collect(graph, [images[:16].numpy()])
    graph, made = build_recipe(CalibratedGraph(graph, stats, images[:16]), lambda _: (bits, bits), method)
    path = tmp_path / "m.onnx"
    onnx.save(emit(graph, made, input_type="float32", producer="test"), path)
    report = verify_model(path, [images[-3:].numpy()], threads=1)
    assert report.passed, [(tensor.name, tensor.op, tensor.difference) for tensor in report.diverging[:3]]
    session, seen = open_session(path, threads=1), images[:16]
    got = session.run(None, {"input": seen.numpy()})[0]
    alone = np.concatenate([session.run(None, {"input": part.numpy()})[0] for part in seen.split(1)])
    assert np.array_equal(got, alone)
    with torch.no_grad():
        wanted = model(seen).numpy()
        simulated = Simulator.of(graph, made).logits(graph, seen).numpy()
    spread = float(np.abs(wanted - wanted.mean(0)).mean())
    assert np.abs(got - simulated).mean() < 0.05 * spread
    if bits == 8:
        assert np.abs(got - wanted).mean() < 0.1 * spread


class Pooled(nn.Module):
    """A layer over what a function makes of the image."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.stem = function, nn.Conv2d(3, 5, 4, 4).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stem(self.function(x)).mean((2, 3))


def emitted(function: Callable[[torch.Tensor], torch.Tensor], path: Path) -> None:
    images = torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(1))
    graph = prepare(capture(Pooled(function).eval(), SIZE), images[:2])
    graph, made = build_recipe(
        CalibratedGraph(graph, collect(graph, [images.numpy()]), images), lambda _: (8, 8), MINMAX
    )
    onnx.save(emit(graph, made, input_type="float32", producer="test"), path)


def test_an_image_with_infinities_is_resized_as_codes(tmp_path: Path) -> None:
    emitted(lambda x: F.interpolate(2 * x - 1, (24, 24), mode="bicubic"), tmp_path / "m.onnx")
    images = np.random.default_rng(0).standard_normal((2, *SIZE), np.float32)
    images[0, :, :9, 3:5] = [-np.inf, np.inf]
    assert verify_model(tmp_path / "m.onnx", [images], threads=1).passed


def test_floats_without_a_bound_are_not_resized(tmp_path: Path) -> None:
    with pytest.raises(MptqError, match="resized_height: what is made of the image alone is resized here"):
        emitted(lambda x: F.interpolate(x * x.amax(1, keepdim=True), (24, 24), mode="bilinear"), tmp_path / "m.onnx")
