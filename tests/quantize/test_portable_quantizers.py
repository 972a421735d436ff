"""Ranges of the portable form follow what is computed from a value, and coded norms are stored without an error."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import calibrated_graph

from mptq_export.calibrate.statistics import Range
from mptq_export.capture.graph import Node, Shape
from mptq_export.capture.ops import LayerNorm
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.method import BEST
from mptq_export.quantize.portable.importance import importance_of, read_importance
from mptq_export.quantize.portable.ranges import (
    best_attention,
    best_by_result,
    gain_and_offset,
    of_attention,
    of_gain,
    of_parameter,
    of_range,
)
from mptq_export.quantize.portable.stored_norm import exactly_stored
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import SqB
from mptq_export.targets.portable import PortableForm
from mptq_export.targets.table import portable_form

UNSIGNED = PortableForm(signed=False, symmetric=False)
SIGNED = PortableForm()


def rows(scale: float, count: int = 400, width: int = 24) -> torch.Tensor:
    return scale * torch.randn(count, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_scores_that_no_softmax_sees_are_cut(form: PortableForm):
    scores = rows(2.0)
    scores[:, ::3] -= 60  # far below the maximum of every row
    one = torch.ones(1, dtype=torch.float64)
    seen = Range(float(scores.min()), float(scores.max()))
    softmax = lambda x: x.softmax(-1)  # noqa: E731
    found = best_by_result(form, Sample.of(scores), seen, 8, function=softmax, columns=one)
    plain = of_range(form, seen, 8)
    assert found.scale < 0.5 * plain.scale

    def error(quant) -> float:
        return float((fake_quantize(scores, quant).softmax(-1) - scores.softmax(-1)).square().mean())

    assert error(found) < 0.5 * error(plain)


def test_a_softmax_that_stays_small_gets_small_steps():
    attention = rows(0.5, width=100).softmax(-1)
    found = best_attention(UNSIGNED, Histogram.of(attention), 8)
    assert found.scale < 0.2 * of_attention(UNSIGNED, 8).scale
    assert (found.zero_point, found.low, found.high) == (0, 0, 255)


def test_a_softmax_of_one_row_that_reaches_1_keeps_the_whole_range():
    attention = (40 * rows(1.0)).softmax(-1)
    assert best_attention(UNSIGNED, Histogram.of(attention), 8).scale >= 0.9 * of_attention(UNSIGNED, 8).scale


@pytest.mark.parametrize("target", ["qnn", "rknn", "st"])
def test_gain_and_offset_behind_sq_b_are_stored_as_they_are(target: str):
    form = portable_form(target)
    assert form is not None
    generator = torch.Generator().manual_seed(1)
    gamma = torch.randn(48, generator=generator).double()
    gamma[5] = 0
    gamma[7] = 1e-5
    beta = torch.randn(48, generator=generator).double()
    norm = Node(LayerNorm(1e-6), "n", ("x",), Shape((4, 48)), {"weight": gamma, "bias": beta})
    found = SqB(beta.numpy() + 0.1, np.linspace(0.5, 3, 48), 0.5)
    kept = exactly_stored(form, norm, found)
    assert (kept.scale > 0).all()
    scale, shift = torch.from_numpy(kept.scale), torch.from_numpy(kept.shift)
    after = replace(norm, params={"weight": gamma / scale, "bias": (beta - shift) / scale})
    gain, offset = gain_and_offset(after)
    if form.norms != "float":
        torch.testing.assert_close(fake_quantize(gain, of_gain(form, gain)), gain, rtol=1e-6, atol=0)
    if form.norms == "codes":
        stored = fake_quantize(offset, of_parameter(form, offset, 8))
        torch.testing.assert_close(stored, offset, rtol=1e-5, atol=1e-6)
    before = np.abs(gamma.numpy() / found.scale)
    large = before > 0.1 * before.max()  # a gain moves by half a step
    assert np.abs(kept.scale / found.scale - 1)[large].max() < 0.05


def test_rows_of_the_residual_count_as_those_of_what_was_added_last():
    seen = calibrated_graph("vit").with_importance(BEST)
    graph, layers = seen.graph, seen.importance
    assert layers is not None
    adds = {name: importance_of(graph, name, layers) for name in ("blocks.0.add", "blocks.0.add_2")}
    assert torch.equal(adds["blocks.0.add"], layers["blocks.0.attn.proj"])
    assert torch.equal(adds["blocks.0.add_2"], layers["blocks.0.mlp.fc2"])
    assert torch.equal(read_importance(graph, "blocks.0.norm2", layers), layers["blocks.0.mlp.fc1"])
    assert importance_of(graph, "blocks.0.norm1", {}) is None
