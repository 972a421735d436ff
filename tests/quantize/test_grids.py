"""The residual's grids, and the codes of score biases."""

import math

import numpy as np
import pytest
from tiny_models import KINDS, images, prepared

from mptq_export.calibrate.statistics import collect
from mptq_export.quantize.grids import RANGE, grid_exponents, streams
from mptq_export.quantize.score_bias import bias_codes, bias_span


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_has_one_grid_that_gives_its_range_15_bits(kind: str):
    graph = prepared(kind)
    stats = collect(graph, [images(kind, 4).numpy()])
    exponents, member = grid_exponents(graph, stats), streams(graph)
    assert exponents.keys() == member.keys()
    for stream in set(member.values()):
        names = [name for name, other in member.items() if other == stream]
        assert len({exponents[name] for name in names}) == 1
        largest = max(stats.values[name].magnitude for name in names) * 2.0 ** exponents[names[0]]
        assert RANGE / 2 - 1 <= largest <= RANGE
    for node in graph:
        if node.op == "layer_norm":
            assert node.inputs[0] in exponents


def test_streams_are_joined_by_sums_and_parted_by_norms():
    member = streams(prepared("vit"))
    blocks = {member[name] for name in member if name.startswith("blocks.") and name.endswith(("add", "add_2"))}
    assert len(blocks) == 1
    swin = streams(prepared("swin"))
    assert len(set(swin.values())) > 2


def test_bias_codes_are_whole_steps_and_a_mask_is_silent():
    value = np.array([[0.0, 0.31, -0.09, -100.0, 2.0]], np.float32)
    codes = bias_codes(value, 0.05, 255)
    silent = -255 - math.ceil(math.log(4 * 255) / 0.05)
    assert codes.dtype == np.float32
    assert codes.tolist() == [[0.0, 6.0, -2.0, silent, 40.0]]
    # from the lowest score, a masked one stays where Exp gives code 0
    assert math.exp((silent + 255) * 0.05) * 255 <= 0.25 + 1e-9


def test_the_span_of_biases_is_the_sum_over_the_path():
    graph = prepared("swin")
    adds = [node for node in graph if node.op == "add" and any(graph[n].op == "constant" for n in node.inputs)]
    spans = [bias_span(graph, [node], 0.05, 255) for node in adds]
    assert min(spans) >= 0
    assert max(spans) > 0
    assert bias_span(graph, adds, 0.05, 255) == sum(spans)
    assert bias_span(graph, [], 0.05, 255) == 0
