"""When a result of another runtime is wrong, and not just rounded otherwise."""

import numpy as np
import pytest

from mptq_export.verify.elsewhere.closeness import closeness
from mptq_export.verify.elsewhere.final_codes import codes_off
from mptq_export.verify.elsewhere.judge import wrong

RANDOM = np.random.default_rng(0)
LOGITS = (3 * RANDOM.standard_normal((40, 10))).astype(np.float32)


def reasons(found: np.ndarray, *, float_kl: float | None = None, images: bool = True, reference: np.ndarray = LOGITS):
    return wrong("logits", closeness("logits", reference, found), float_kl, images=images)


def noisy(share: float) -> np.ndarray:
    """Logits with noise of a share of their own deviation."""
    return LOGITS + share * LOGITS.std() * RANDOM.standard_normal(LOGITS.shape).astype(np.float32)


def test_equal_logits_and_those_off_by_a_constant_are_right():
    assert not reasons(LOGITS)
    assert not reasons(LOGITS + np.float32(5))  # no softmax sees it


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_rounding_is_right(share: float):
    assert not reasons(noisy(share))


def test_another_result_is_wrong_for_every_reason():
    said = " ".join(reasons(RANDOM.permutation(LOGITS)))
    assert "dB from what the file says" in said
    assert "names other classes" in said
    assert "top-1 is that of the file for" in said


def test_few_images_that_agree_are_not_held_against_a_runtime():
    reference = LOGITS[:6]
    flipped = reference.copy()
    flipped[0] = flipped[0][::-1]
    assert not [why for why in reasons(flipped, reference=reference) if "top-1" in why]
    assert [why for why in reasons(reference[:, ::-1], reference=reference) if "top-1" in why]


def test_top_1_of_made_up_inputs_says_nothing():
    undecided = (0.01 * RANDOM.standard_normal((40, 10))).astype(np.float32)
    other = undecided + (0.001 * RANDOM.standard_normal((40, 10))).astype(np.float32)
    assert not reasons(other, reference=undecided, images=False)


def test_a_file_far_from_float_may_be_as_far_from_itself():
    found = noisy(0.25)
    kl = closeness("logits", LOGITS, found).mean_kl
    assert kl is not None and 0.1 < kl < 1
    assert [why for why in reasons(found) if "other classes" in why]
    assert not [why for why in reasons(found, float_kl=kl) if "other classes" in why]


def test_what_is_no_number_is_wrong():
    found = LOGITS.copy()
    found[3, 2] = np.nan
    assert reasons(found) == ("logits holds values that are no numbers",)


def test_maps_are_judged_by_their_signal():
    maps = RANDOM.standard_normal((4, 8, 3, 3)).astype(np.float32)
    near, far = maps + np.float32(0.01), RANDOM.permutation(maps.ravel()).reshape(maps.shape)
    assert not wrong("map", closeness("map", maps, near), None, images=True)
    assert wrong("map", closeness("map", maps, far), None, images=True)


def test_codes_are_counted_by_steps():
    reference = np.arange(10, dtype=np.float32) * np.float32(0.5)
    found = reference.copy()
    found[1] += 0.5
    found[2] -= 1.0
    found[3] += 20
    found[4] = np.nan
    off = codes_off(0.5, reference, found)
    assert off.off_by == (6, 1, 1, 0, 2)
    assert off.most == 2**31
