"""What a walk should take follows from what is done at every node: more where weights of few bits get regions."""

from collections.abc import Collection

import pytest
from tiny_models import prepared

from mptq_export.quantize.method import BEST, PAPER, Method
from mptq_export.quantize.walk.following import following, seconds_of_nodes

LAYER, OTHERS = "blocks.0.mlp.fc1", ("blocks.0.norm1", "blocks.0.attn.scores", "blocks.0.attn.softmax")


def seconds(bits: Collection[int], method: Method = BEST, *, has_weight_regions: bool = True) -> dict[str, float]:
    return seconds_of_nodes(prepared("vit"), 8, method, lambda _layer: bits, has_weight_regions=has_weight_regions)


def test_weights_of_few_bits_take_longer_and_nothing_else_does():
    wide, few = seconds((5,)), seconds((4,))
    assert few[LAYER] > 1.1 * wide[LAYER] and all(few[name] == wide[name] > 0 for name in OTHERS)
    assert seconds((2,)) == seconds((4,)) and seconds((8,)) == wide


@pytest.mark.parametrize(("method", "there"), [(PAPER, True), (BEST, False)])
def test_where_there_are_no_regions_all_widths_take_alike(method: Method, there: bool):
    assert seconds((4,), method, has_weight_regions=there) == seconds((8,), method, has_weight_regions=there)


def test_a_search_rounds_at_every_width_and_fits_once():
    one, other, both, none = (seconds(bits)[LAYER] for bits in ((6,), (3,), (6, 3), ()))
    assert max(one, other) < both < one + other and none < one
    assert seconds_of_nodes(prepared("vit"), 8, BEST)[LAYER] == none


def test_a_bar_ends_and_stands_where_the_time_is():
    shares: dict[str, float] = {}

    class Bar:
        def advance(self, amount: float = 1, text: str = "") -> None:
            shares[text] = amount

    each = seconds((4,))
    tick = following(each, Bar())
    for node in prepared("vit"):
        tick(node)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[LAYER] / shares["blocks.0.norm1"] == pytest.approx(each[LAYER] / each["blocks.0.norm1"])
