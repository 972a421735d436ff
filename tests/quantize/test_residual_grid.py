"""The residual's grids."""

import pytest
from tiny_models import KINDS, images, prepared

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.ops import LayerNorm
from mptq_export.quantize.residual_grid import RANGE, grid_exponents, streams


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
        if isinstance(node.op, LayerNorm):
            assert node.inputs[0] in exponents


def test_streams_are_joined_by_sums_and_parted_by_norms():
    member = streams(prepared("vit"))
    blocks = {member[name] for name in member if name.startswith("blocks.") and name.endswith(("add", "add_2"))}
    assert len(blocks) == 1
    swin = streams(prepared("swin"))
    assert len(set(swin.values())) > 2
