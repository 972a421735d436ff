"""Which model a checkpoint belongs to: named, or inferred from the tensors of models on the meta device."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.timm.architecture import Architecture, resolve_architecture
from mptq_export.load.timm.fit import build_meta, fit, shapes_of
from mptq_export.load.timm.layouts.table import translated
from mptq_export.load.timm.near import looks_like
from mptq_export.load.timm.place_tensors import place
from mptq_export.support.errors import MptqError


def checkpoint(tensors: dict[str, torch.Tensor], **about: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "path": Path("m.pt"),
        "arches": (),
        "model_kwargs": {},
        "module": None,
        "class_names": None,
        "pretrained_cfg": {},
    }
    return Checkpoint(state_dict=tensors, **{**fields, **about})


def tensors_of(name: str, **model_kwargs: Any) -> dict[str, torch.Tensor]:
    return dict(build_meta(name, model_kwargs).state_dict())


def infer(name: str, *, given: dict[str, Any] | None = None, **model_kwargs: Any) -> Architecture:
    return resolve_architecture(checkpoint(tensors_of(name, **model_kwargs)), model_kwargs=given)


def test_the_users_word_comes_first():
    named = checkpoint({}, arches=("vit_tiny_patch16_224",), model_kwargs={"num_classes": 3, "img_size": 64})
    found = resolve_architecture(named, arch="deit_tiny_patch16_224", model_kwargs={"num_classes": 5})
    assert (found.name, found.source) == ("deit_tiny_patch16_224", "--arch")
    assert found.model_kwargs == {"num_classes": 5, "img_size": 64}


def test_then_the_checkpoints():
    found = resolve_architecture(checkpoint({}, arches=("vit_tiny_patch16_224",)))
    assert (found.name, found.source) == ("vit_tiny_patch16_224", "named by the checkpoint")


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(MptqError, match=r"'deit_tiny_patch16'.*deit_tiny_patch16_224"):
        resolve_architecture(checkpoint({}), arch="deit_tiny_patch16")
    with pytest.raises(MptqError, match="no architecture 'x'"):
        resolve_architecture(checkpoint({}, arches=("x",)))


@pytest.mark.parametrize(
    ("name", "model_kwargs"),
    [
        ("deit_tiny_distilled_patch16_224", {}),
        ("deit3_small_patch16_224", {"num_classes": 10}),
        ("vit_small_patch14_dinov2", {"num_classes": 10, "img_size": 224}),
        ("vit_small_patch14_reg4_dinov2", {"num_classes": 4}),
        ("vit_medium_patch16_reg4_gap_256", {}),
        ("swin_tiny_patch4_window7_224", {}),
        ("swin_s3_tiny_224", {"num_classes": 3}),
    ],
)
def test_inferred_where_one_model_fits(name: str, model_kwargs: dict[str, Any]):
    found = infer(name, **model_kwargs)
    assert found.name == name
    assert found.source.startswith("inferred")


def test_models_that_differ_in_preprocessing_are_listed():
    with pytest.raises(MptqError) as caught:
        infer("deit_tiny_patch16_224", num_classes=10)
    message = str(caught.value)
    assert "prepare images differently" in message
    assert "deit_tiny_patch16_224" in message
    assert "vit_tiny_patch16_224" in message
    assert "384" not in message


def test_they_are_one_where_the_checkpoint_brings_its_preprocessing():
    cfg = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    found = resolve_architecture(checkpoint(tensors_of("deit_tiny_patch16_224"), pretrained_cfg=cfg))
    assert found.name in ("deit_tiny_patch16_224", "vit_tiny_patch16_224")
    assert "the same model as" in found.source


def test_models_that_differ_in_function_are_listed():
    with pytest.raises(MptqError, match=r"compute different things.*vit_base_patch32_clip_quickgelu_224"):
        infer("vit_base_patch32_clip_224", num_classes=10)


def test_given_arguments_are_part_of_the_match():
    found = infer("swin_tiny_patch4_window7_224", given={"window_size": 5}, window_size=5)
    assert found.model_kwargs == {"window_size": 5}
    # Apart from the window these two are the same model.
    assert found.name in ("swin_s3_tiny_224", "swin_tiny_patch4_window7_224")
    assert "the same model as" in found.source
    with pytest.raises(MptqError, match="fit no"):
        infer("swin_tiny_patch4_window7_224", window_size=5)


def test_a_refusal_names_what_the_tensors_fit():
    """Of a name that timm does not know, or that is another model's; another depth; nothing where nothing fits."""
    tensors = tensors_of("deit_tiny_patch16_224", num_classes=7)
    like = "These tensors look like deit_tiny_patch16_224 or vit_tiny_patch16_224: pass --arch with the right one."
    with pytest.raises(MptqError, match=f"timm has no architecture 'deit_tny'. {like}"):
        resolve_architecture(checkpoint(tensors), arch="deit_tny")
    with pytest.raises(MptqError, match=f"does not fit deit_small_patch16_224: .* {like}"):
        place(Path("x.pt"), tensors, build_meta("deit_small_patch16_224", {}), "deit_small_patch16_224")
    shallow = shapes_of(tensors_of("vit_small_patch32_224", depth=5))
    assert looks_like(shallow, shallow).endswith("""pass --arch vit_small_patch32_224 --model-kwargs '{"depth": 5}'.""")
    assert looks_like(shapes_of(tensors), tensors, "deit_tiny_patch16_224") == ""
    distilled = {**shapes_of(tensors), "dist_token": (1, 1, 192)}
    assert "look most like" in looks_like(distilled, distilled)
    assert looks_like(others := shapes_of(tensors_of("resnet18")), others) == ""


def test_swins_old_layout_is_recognised():
    tensors = {}
    for name, tensor in tensors_of("swin_tiny_patch4_window7_224").items():
        old = name.replace("head.fc.", "head.")
        for stage in (1, 2, 3):
            old = old.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        tensors[old] = tensor
    tensors["layers.0.blocks.1.attn_mask"] = torch.empty(64, 49, 49, device="meta")
    tensors["layers.0.blocks.0.attn.relative_position_index"] = torch.empty(49, 49, device="meta")
    found = translated(checkpoint(tensors), None)
    assert (
        resolve_architecture(found.checkpoint, names=found.names, among=found.models).name
        == "swin_tiny_patch4_window7_224"
    )


def test_buffers_tell_the_window():
    """Of Swin V2 no weight shows it; the official files keep an index of positions."""
    name = "swinv2_tiny_window16_256"
    model = build_meta(name, {})
    index = {key: buffer for key, buffer in model.named_buffers() if key.endswith("relative_position_index")}
    assert resolve_architecture(checkpoint({**model.state_dict(), **index})).name == name
    with pytest.raises(MptqError, match="compute different things"):
        infer(name)


def test_tensors_that_fit_nothing():
    with pytest.raises(MptqError, match="fit no ViT, DeiT or Swin"):
        infer("vit_tiny_patch16_224", embed_dim=96)
    with pytest.raises(MptqError, match="fit no ViT, DeiT or Swin"):
        infer("resnet18")


def test_image_size_and_classes_are_read_from_the_shapes():
    shapes = shapes_of(tensors_of("deit_tiny_distilled_patch16_224", img_size=64, num_classes=7))
    found = fit("deit_tiny_distilled_patch16_224", shapes, {})
    assert found.model_kwargs == {"num_classes": 7, "img_size": 64}
    assert shapes_of(found.model.state_dict()) == shapes
    assert fit("deit_tiny_distilled_patch16_224", shapes, {"img_size": 32}).inferred == ("num_classes",)


def test_what_agrees_is_not_inferred():
    found = fit("vit_tiny_patch16_224", shapes_of(tensors_of("vit_tiny_patch16_224")), {})
    assert (found.model_kwargs, found.inferred) == ({}, ())


def test_arguments_that_timm_refuses():
    with pytest.raises(MptqError, match=r"timm cannot build vit_tiny_patch16_224 with .*no_such"):
        build_meta("vit_tiny_patch16_224", {"no_such": 1})
