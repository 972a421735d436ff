"""When two models count as the same function."""

from typing import Any

import pytest

from mptq_export.load.fit import build_meta
from mptq_export.load.infer import function_of

NAME = "vit_tiny_patch16_224"


@pytest.mark.parametrize("kwargs", [{"num_heads": 6}, {"global_pool": "avg", "fc_norm": False}, {"act_layer": "relu"}])
def test_what_the_tensors_do_not_show_still_counts(kwargs: dict[str, Any]):
    one, other = build_meta(NAME, {}), build_meta(NAME, kwargs)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert function_of(one) != function_of(other)


@pytest.mark.parametrize("kwargs", [{"drop_rate": 0.1}, {"drop_path_rate": 0.1}, {"weight_init": "jax"}])
def test_what_only_training_sees_does_not(kwargs: dict[str, Any]):
    assert function_of(build_meta(NAME, {})) == function_of(build_meta(NAME, kwargs))


def test_vit_and_deit_compute_the_same():
    assert function_of(build_meta(NAME, {})) == function_of(build_meta("deit_tiny_patch16_224", {}))
