"""A classifier's checkpoint as an encoder: `num_classes=0` leaves the classifier out, and nothing else."""

from pathlib import Path

import pytest
import torch

from mptq_export.load.loaders import load_model

from .helpers import IMAGES, VIT, model_of, refusal, saved

SWIN = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)}


@pytest.mark.parametrize(
    ("arch", "kwargs", "left"),
    [
        ("vit_tiny_patch16_224", {**VIT, "img_size": 32}, "head.weight"),
        ("swin_tiny_patch4_window7_224", SWIN, "head.fc.weight"),
        ("deit_tiny_distilled_patch16_224", {**VIT, "img_size": 32}, "head_dist.weight"),
    ],
)
def test_a_classifier_gives_its_embedding_where_it_is_asked_for(tmp_path: Path, arch: str, kwargs: dict, left: str):
    model = model_of(arch, num_classes=7, **kwargs)
    content = {"arch": arch, "model_kwargs": {**kwargs, "num_classes": 7}, "state_dict": model.state_dict()}
    content["class_names"] = list("abcdefg")
    path = saved(tmp_path / "m.pth", content)
    loaded = load_model(path, model_kwargs={"num_classes": 0})
    model.reset_classifier(0)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert [each.name for each in loaded.outputs] == ["embedding"]
    assert loaded.class_names is None
    assert any(left in note and "left out: num_classes 0" in note for note in loaded.notes)


def test_nothing_but_the_classifier_is_left_out(tmp_path: Path):
    state = model_of("vit_tiny_patch16_224", num_classes=7, img_size=32, **VIT).state_dict()
    content = {"arch": "vit_tiny_patch16_224", "model_kwargs": {**VIT, "img_size": 32, "num_classes": 7}}
    path = saved(tmp_path / "m.pth", {**content, "state_dict": {**state, "extra.weight": torch.ones(3)}})
    assert "unexpected extra.weight" in refusal(path, model_kwargs={"num_classes": 0})
