"""When two models count as the same function."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from timm.layers import PatchEmbed
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from mptq_export.load.timm.fit import build_meta, shapes_of
from mptq_export.load.timm.infer import fitting_models, function_of

NAME = "vit_tiny_patch16_224"


@pytest.mark.parametrize("kwargs", [{"num_heads": 6}, {"global_pool": "avg", "fc_norm": False}, {"act_layer": "relu"}])
def test_what_the_tensors_do_not_show_still_counts(kwargs: dict[str, Any]):
    one, other = build_meta(NAME, {}), build_meta(NAME, kwargs)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert function_of(one) != function_of(other)


@pytest.mark.parametrize("kwargs", [{"drop_rate": 0.1}, {"drop_path_rate": 0.1}, {"weight_init": "jax"}])
def test_what_only_training_sees_does_not(kwargs: dict[str, Any]):
    assert function_of(build_meta(NAME, {})) == function_of(build_meta(NAME, kwargs))


@pytest.mark.parametrize("depths", [[40, 40, 40, 40], [2, 2, 6, 3]])
def test_no_swin_is_built_whole_that_cannot_fit(depths: list[int]):
    """A damaged checkpoint names no architecture and asks for many blocks: every Swin of timm had so many, once."""
    with counted_blocks() as blocks:
        shapes = shapes_of(build_meta("swin_tiny_patch4_window7_224", {}).state_dict())
    assert blocks == [12]
    with counted_blocks() as blocks:
        assert fitting_models(shapes, {"depths": depths}, {}) == ()
    assert all(count <= 4 for count in blocks)


@contextmanager
def counted_blocks() -> Iterator[list[int]]:
    """The number of blocks of every Swin that is built meanwhile."""
    blocks: list[int] = []

    def count(module: nn.Module, _name: str, part: nn.Module | None) -> None:
        if isinstance(module, SwinTransformer) and isinstance(part, PatchEmbed):
            blocks.append(0)
        elif isinstance(part, SwinTransformerBlock):
            blocks[-1] += 1

    counting = register_module_module_registration_hook(count)
    try:
        yield blocks
    finally:
        counting.remove()


def test_vit_and_deit_compute_the_same():
    assert function_of(build_meta(NAME, {})) == function_of(build_meta("deit_tiny_patch16_224", {}))


def test_what_the_model_need_not_have_does_not_hide_it():
    """The list of harmless tensors is one: what a named architecture leaves out, an inferred one does too."""
    shapes = shapes_of(build_meta(NAME, {}).state_dict())
    names = [candidate.name for candidate in fitting_models(shapes, {}, {})]
    more = {"mask_token": (1, 1, 192), "blocks.0.attn.relative_position_index": (4, 4)}
    assert names and [candidate.name for candidate in fitting_models({**shapes, **more}, {}, {})] == names
    assert fitting_models({**shapes, "aux.weight": (3,)}, {}, {}) == ()
