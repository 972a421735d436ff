"""From a checkpoint to a float model: loading, errors, preprocessing."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

DEMO = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits_vit.pt"
NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(NAME, **SMALL)
    return model.eval()


def saved(path: Path, tensors: dict[str, Tensor], **about: Any) -> Path:
    torch.save({"arch": NAME, "model_kwargs": SMALL, "state_dict": tensors, **about}, path)
    return path


def refusal(path: Path | str, **kwargs: Any) -> str:
    with pytest.raises(MptqError) as caught:
        load_model(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_loaded_model_is_the_saved_one(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", small.state_dict(), class_names=list("abcde"))
    loaded = load_model(path)
    assert (loaded.arch, loaded.model_kwargs, loaded.asked.name) == (NAME, SMALL, str(path))
    assert loaded.class_names == tuple("abcde")
    assert not loaded.model.training
    assert loaded.preprocessing.input_size == (3, 32, 32)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), small(images))


def test_class_names_that_are_not_one_a_logit_are_left_out(tmp_path: Path, small: nn.Module):
    loaded = load_model(saved(tmp_path / "m.pt", small.state_dict(), class_names=["cat", "dog"]))
    assert loaded.class_names is None
    assert loaded.warnings == ("2 class names are left out: the model has 5 logits",)


@pytest.mark.parametrize("way", ["hub", "module"])
def test_class_names_of_timms_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: nn.Module, way: str
):
    monkeypatch.setattr(small, "pretrained_cfg", {**small.pretrained_cfg, "label_names": list("abcde")})
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: small)
    torch.save(small, tmp_path / "m.pt")
    loaded = load_model(f"timm:{NAME}") if way == "hub" else load_model(tmp_path / "m.pt", trust=True)
    assert loaded.class_names == tuple("abcde")


def test_the_checkpoints_preprocessing_overrides(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", small.state_dict(), pretrained_cfg={"crop_pct": 1.0, "mean": (0.1, 0.2, 0.3)})
    found = load_model(path).preprocessing
    assert (found.crop_pct, found.mean, found.std) == (1.0, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_a_size_that_only_the_arguments_tell(tmp_path: Path):
    """LeViT has no patch embedding that knows its image size: images of another size would stop in its attention."""
    kwargs = {"img_size": 96, "num_classes": 5}
    model = timm.create_model("levit_128s", **kwargs)
    path = tmp_path / "levit.pt"
    torch.save({"arch": "levit_128s", "model_kwargs": kwargs, "state_dict": model.state_dict()}, path)
    assert load_model(path).preprocessing.input_size == (3, 96, 96)


def test_size_and_classes_are_inferred_and_said(tmp_path: Path, small: nn.Module):
    kwargs = {key: value for key, value in SMALL.items() if key not in ("img_size", "num_classes")}
    loaded = load_model(saved(tmp_path / "m.pt", small.state_dict(), model_kwargs=kwargs))
    assert loaded.model_kwargs == SMALL
    assert loaded.notes == ("num_classes 5 read from the weights", "img_size 32 read from the weights")


def test_the_users_arguments_override(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", small.state_dict(), arch="swin_tiny_patch4_window7_224", model_kwargs={})
    assert load_model(path, arch=NAME, model_kwargs=SMALL).arch_source == "--arch"


def test_missing_and_unexpected_tensors_are_named(tmp_path: Path, small: nn.Module):
    tensors = dict(small.state_dict())
    tensors["head.weights"] = tensors.pop("head.weight")
    message = refusal(saved(tmp_path / "m.pt", tensors))
    assert "missing head.weight" in message
    assert "unexpected head.weights" in message
    assert "--arch" in message


def test_no_more_than_three_tensors_are_named(tmp_path: Path, small: nn.Module):
    tensors = {name: tensor for name, tensor in small.state_dict().items() if not name.startswith("blocks.0")}
    assert "and 9 more" in refusal(saved(tmp_path / "m.pt", tensors))


def test_misshapen_tensors_are_named(tmp_path: Path, small: nn.Module):
    tensors = {**small.state_dict(), "norm.bias": torch.zeros(47)}
    assert "misshapen norm.bias [47] instead of [48]" in refusal(saved(tmp_path / "m.pt", tensors))
    path = saved(tmp_path / "m.pt", small.state_dict())
    assert "head.weight [5, 48] instead of [9, 48]" in refusal(path, model_kwargs={"num_classes": 9})


def test_nothing_is_resampled_silently(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", {**small.state_dict(), "extra": torch.zeros(1)})
    message = refusal(path, model_kwargs={"img_size": 64})
    assert "pos_embed [1, 17, 48] instead of [1, 65, 48]" in message


def test_wrong_arch_and_unknown_arch(tmp_path: Path, small: nn.Module):
    path = saved(tmp_path / "m.pt", small.state_dict())
    assert "does not fit deit_tiny_distilled" in refusal(path, arch="deit_tiny_distilled_patch16_224")
    assert "no architecture 'nope'" in refusal(path, arch="nope")
    assert "timm cannot build" in refusal(path, model_kwargs={"nope": 1})


def test_swins_old_layout_is_converted(tmp_path: Path):
    kwargs = {"img_size": 64, "window_size": 2, "embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 3, 4)}
    name = "swin_tiny_patch4_window7_224"
    model = timm.create_model(name, num_classes=3, **kwargs).eval()
    old = {}
    for key, tensor in model.state_dict().items():
        new = key.replace("head.fc.", "head.")
        for stage in (1, 2, 3):
            new = new.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        old[new] = tensor
    old["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4, dtype=torch.int64)
    loaded = load_model(saved(tmp_path / "m.pt", old, arch=name, model_kwargs={**kwargs, "num_classes": 3}))
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.model(images), model(images))


def test_a_pickled_module(tmp_path: Path, small: nn.Module):
    torch.save(small, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", trust=True)
    assert (loaded.arch, loaded.arch_source) == (NAME, "the pickled module")
    assert loaded.preprocessing.input_size == (3, 32, 32)
    assert "leave --model-kwargs out" in refusal(tmp_path / "m.pt", trust=True, model_kwargs={"num_classes": 5})


def test_the_hub(monkeypatch: pytest.MonkeyPatch, small: nn.Module):
    asked = []

    def create(name: str, **kwargs: Any) -> nn.Module:
        asked.append((name, kwargs))
        return small

    monkeypatch.setattr(timm, "create_model", create)
    loaded = load_model(f"timm:{NAME}", model_kwargs={"img_size": 32})
    assert asked == [(NAME, {"pretrained": True, "img_size": 32})]
    assert (loaded.arch, loaded.asked.name) == (NAME, f"timm:{NAME}")


def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch):
    def create(*_: Any, **__: Any) -> nn.Module:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", create)
    assert "no route to host); check the network" in refusal(f"timm:{NAME}")


def test_names_that_the_hub_does_not_have():
    assert "no architecture" in refusal("timm:nope")
    assert "no pretrained weights" in refusal("timm:vit_base_patch16_gap_224")
    assert "leave --arch" in refusal(f"timm:{NAME}", arch="deit_tiny_patch16_224")


def test_the_demo_checkpoint():
    loaded = load_model(DEMO)
    assert loaded.arch == NAME
    assert loaded.preprocessing.crop_pct == 1.0


@pytest.mark.parametrize(
    ("file", "arch", "crop_pct"),
    [
        ("deit_tiny_imagenette.pt", "deit_tiny_patch16_224", 0.9),
        ("vit_small_imagenette.pt", "vit_small_patch14_dinov2", 1.0),
    ],
)
def test_the_real_checkpoints(assets: Path, file: str, arch: str, crop_pct: float):
    loaded = load_model(assets / file)
    assert (loaded.arch, loaded.model_kwargs["num_classes"]) == (arch, 10)
    assert loaded.preprocessing.input_size == (3, 224, 224)
    assert loaded.preprocessing.crop_pct == crop_pct
