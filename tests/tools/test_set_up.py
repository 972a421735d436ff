"""Which torch the demo's environment gets."""

import pytest

from tools.set_up import chosen, least_torch, tested_torch


@pytest.mark.parametrize(
    ("versions", "taken"),
    [
        (["2.15.0", "2.14.1", "2.13.0"], None),  # none is a build for CPUs
        (["2.15.0", "2.14.1", "2.13.0+cpu", "2.13.0"], "2.13.0+cpu"),
        (["2.16.0+cpu", "2.9.1+cpu", "2.13.0+cpu"], "2.16.0+cpu"),
        (["2.16.0+cpu", "2.14.1+cpu"], "2.14.1+cpu"),  # the tested one
        (["2.8.1+cpu"], None),  # below what is allowed
        (["2.16.0+cu130", "2.16.0.dev20260101+cpu"], None),  # another build; none that pip takes unasked
        ([], None),
    ],
)
def test_the_small_torch_is_the_tested_one_or_the_newest(versions: list[str], taken: str | None):
    assert chosen(versions, (2, 9), (2, 14, 1)) == taken


def test_its_bounds_are_those_of_the_project():
    assert (2, 9) <= least_torch() <= tested_torch()
