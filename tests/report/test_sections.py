"""What the sections of a report are made of: levels, blocks, charts, the command, the images of the agreement."""

import math
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import images, quantized

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.calibration import open_calibration
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.export.command import command_of
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Replayed, Searched, Uniform
from mptq_export.load.request import ModelRequest
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.opt_m_levels import level_regions
from mptq_export.recipe.outputs import Output, OutputKind
from mptq_export.recipe.schema import ActivationQuant, Region, SqB
from mptq_export.report.charts import error_chart, front_chart, levels_chart, ranges_chart
from mptq_export.report.deployed import FloatOutputs, agreement_images
from mptq_export.report.evidence import ChannelRanges, LayerError, ValueHistogram
from mptq_export.report.front import Chosen, Front, Point
from mptq_export.report.network import block_of
from mptq_export.report.observe import observe, sq_b_ranges
from mptq_export.support.progress import SILENT

OPT_M = ActivationQuant(0.25, 2, 0, 66, 4, "", (Region(0, 6), Region(2, 34), Region(4, 66)))


def test_levels_are_those_that_the_quantizer_gives():
    regions = level_regions(OPT_M)
    assert [region.step for region in regions] == [1, 4, 16]
    listed = [level for region in regions for level in region.levels]
    seen = fake_quantize(torch.linspace(-10, 30, 4001), OPT_M).unique().tolist()
    assert listed == sorted(seen)
    assert len(listed) == 16


def test_blocks():
    assert block_of("blocks.3.attn.qkv") == "blocks.3"
    assert block_of("layers.0.blocks.1.mlp.fc1") == "layers.0.blocks.1"
    assert block_of("patch_embed.proj") == "patch_embed.proj"
    assert block_of("head") == "head"


def test_channel_ranges_are_relative_and_sorted():
    rows = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])  # after SQ-b all channels are alike
    sq_b = SqB(np.array([0.0, 1.0, 0.0]), np.array([4.0, 1.0, 2.0]), 1.0)
    found = sq_b_ranges(rows, sq_b)
    assert found.before_low == (0.0, -0.5, -1.0)
    assert found.before_high == (0.5, 0.5, 1.0)
    assert found.after_low == (-1.0, -1.0, -1.0)
    assert found.channels == 3


@pytest.mark.parametrize("kind", ["vit", "swin", "gap"])
def test_errors_fall_with_more_bits(kind: str):
    decibels = []
    for bits in ((3, 3), (8, 8)):
        graph, recipe = quantized(kind, bits)
        found = observe(graph, recipe, Simulator.of(graph, recipe), images(kind, 4, 5), SILENT)
        assert {name for name, error in found.errors.items() if error.kind == "layer"} >= set(recipe.weights)
        assert set(found.norms) == set(recipe.sq_b)
        assert set(found.histograms) == {key for key, quant in recipe.activations.items() if quant.regions}
        for histogram in found.histograms.values():
            assert sum(histogram.counts) > 0 and histogram.low < histogram.high
        decibels.append([error.sqnr_db for error in found.errors.values()])
    assert min(decibels[1]) > 20 > min(decibels[0])
    assert np.mean(decibels[1]) > np.mean(decibels[0]) + 15


def test_decibels():
    assert LayerError("layer", 1.0, 0.01).sqnr_db == pytest.approx(20)
    assert LayerError("layer", 1.0, 0.0).sqnr_db == math.inf
    assert LayerError("layer", 0.0, 1.0).sqnr_db < -100


@pytest.mark.parametrize(("macs", "count"), [(10**6, 64), (17 * 10**9, 64), (80 * 10**9, 16), (10**13, 8)])
def test_images_of_the_agreement_follow_from_the_size_of_the_model(macs: int, count: int):
    preprocessing = Preprocessing((3, 8, 8), (0.5,) * 3, (0.5,) * 3)
    images = agreement_images(open_calibration(None, preprocessing, count=4), macs)
    assert images.count == count
    assert ("so few, because one takes" in images.description) == (count < 64)


def test_the_float_model_computes_every_batch_once():
    class Model(torch.nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Model.calls += 1
            return x.flatten(1)

    first, second = (np.full((2, 1, 1, 3), value, np.float32) for value in (1, 2))
    kinds: tuple[OutputKind, ...] = ("embedding", "tokens")  # what is large is not kept
    for kind, calls in zip(kinds, (2, 6), strict=True):
        floating = FloatOutputs(Model(), (Output("x", kind),))
        for batch in (first, second, first.copy(), second):
            assert np.array_equal(floating.of(batch)[0], batch.reshape(2, 3))
        assert Model.calls == calls


# -- plots -------------------------------------------------------------------------------------------------------------


def front() -> Front:
    steps = (*(Point(b, b, 10**-b) for b in (8.0, 7.0, 6.0, 5.0)), Point(6.5, 6.5, 0.9))
    return Front(steps, (Chosen("<a>.onnx", "5", "greedy", steps[3]),))


def test_the_front_holds_what_nothing_beats():
    assert [point.mean_bits for point in front().best] == [5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    "plot",
    [
        front_chart([("a", front())]),
        front_chart([("a", front()), ("b", Front((), front().chosen))]),
        front_chart([("a", Front((), (Chosen("a", "5", "greedy", Point(5, 5, 0.0)),)))]),
        error_chart([("layers", [10.0, None, math.inf]), ("stream", [None, -5.0, None])], ["a.0.x", "a.0.y", "<b>"]),
        error_chart([("layers", [3.0])], ["head"]),
        ranges_chart(ChannelRanges(2, (-0.1, -1.0), (0.2, 0.5), (-1.0, -1.0), (1.0, 1.0))),
        ranges_chart(ChannelRanges(1, (0.0,), (0.0,), (0.0,), (0.0,))),
        levels_chart(ValueHistogram(-0.5, 20.0, (100000, 50, 3, 0, 1)), OPT_M),
        levels_chart(ValueHistogram(0.0, 1.0, (0, 0)), OPT_M),
    ],
)
def test_plots_are_plain_drawings(plot: str):
    root = ET.fromstring(plot)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "rect", "path", "text", "circle"}
    assert root.get("aria-label")
    numbers = " ".join(str(value) for element in root.iter() for value in element.attrib.values())
    assert "nan" not in numbers and "inf" not in numbers.replace("info", "")
    assert not any(name in element.attrib for element in root.iter() for name in ("id", "onclick", "href"))


def test_plots_are_the_same_every_time():
    assert front_chart([("a", front())]) == front_chart([("a", front())])


# -- how to do it again -------------------------------------------------------------------------------------------


def test_the_command_line_of_a_request():
    model = ModelRequest("my model.pt", model_kwargs={"num_classes": 7})
    outputs, data = Outputs(Path("o.onnx"), input_type="uint8"), CalibrationRequest(Path("c"))
    words = shlex.split(command_of(model, Uniform(pins={"blocks.0.*": (8, 8)}), outputs, data))
    assert words[:4] == ["mptq-export", "my model.pt", "--model-kwargs", '{"num_classes": 7}']
    assert words[words.index("--pin") + 1] == "blocks.0.*=8/8"
    assert words[-4:] == ["--input", "uint8", "-o", "o.onnx"]
    search = SearchRequest((Budget.parse("12MB"),), WidthDomain.of_range(range(3, 9)), True, {})
    mixed = command_of(model, Searched(search), outputs, data)
    assert "--mixed 12MB --mixed-range 3-8 --tied" in mixed and "--bits" not in mixed
    replay = command_of(ModelRequest("m.pt"), Replayed(Path("r.recipe.json")), Outputs(Path("o.onnx")), None)
    assert replay == "mptq-export m.pt --recipe r.recipe.json -o o.onnx"
