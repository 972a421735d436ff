"""State dicts of torchvision's transformers are known by their names, and built as torchvision builds them."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from zoo import CLASSES, LIBRARIES, randomised

from mptq_export.api import load
from mptq_export.load.torchvision import weight_sets as published_weights
from mptq_export.load.torchvision.families import FAMILIES
from mptq_export.load.torchvision.weight_sets import crop_share, weight_sets
from mptq_export.support.errors import MptqError

HEADS = {"model_kwargs": {"num_heads": 2}}
#: What is said of each small model, as tensors do not show it.
SAID: dict[str, dict[str, Any]] = {
    "vit": HEADS,
    "vit with a representation": HEADS,
    "swin": {"img_size": 64},
    "swin, windows that need padding": {"img_size": 48},
    "swin_v2": {"img_size": 64},
    "maxvit": {"img_size": 64},
}


def model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomised(LIBRARIES["torchvision"][name][1]())


def saved(module: nn.Module, path: Path, prefix: str = "") -> Path:
    torch.save({prefix + name: tensor for name, tensor in module.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("name", SAID)
def test_a_state_dict_gives_the_logits_of_torchvision(tmp_path: Path, name: str):
    original = model(name)
    loaded = load(saved(original, tmp_path / "weights.bin", "model."), **SAID[name])
    side = LIBRARIES["torchvision"][name][0]
    assert loaded.library == "torchvision"
    assert loaded.preprocessing.input_size == (3, side, side)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original(images))


def test_a_file_of_safetensors_is_known_as_well(tmp_path: Path):
    original = model("swin_v2")
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors", img_size=64).arch == "SwinTransformerV2"


@pytest.mark.parametrize(
    "name", ["vit_b_16", "swin_t", *(pytest.param(n, marks=pytest.mark.slow) for f in FAMILIES for n in f.variants)]
)
def test_the_architectures_of_the_registry_have_the_arguments_that_are_noted(name: str):
    family = next(family for family in FAMILIES if name in family.variants)
    with torch.device("meta"):
        theirs = models.get_model(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    assert family.signature <= shapes.keys()
    arguments = family.arguments(shapes)
    assert family.variant(arguments) == name
    with torch.device("meta"):
        ours = family.build(
            **{**arguments, **family.variants[name]}, **({"input_size": (224, 224)} if name == "maxvit_t" else {})
        )
    assert {key: tuple(tensor.shape) for key, tensor in ours.state_dict().items()} == shapes
    heads = [module.num_heads for module in theirs.modules() if hasattr(module, "num_heads")]
    assert [module.num_heads for module in ours.modules() if hasattr(module, "num_heads")] == heads


@pytest.mark.parametrize("name", [name for family in FAMILIES for name in family.variants])
def test_the_transform_of_every_set_of_weights_is_theirs(name: str):
    for each, theirs in zip(weight_sets(name), models.get_model_weights(name), strict=True):
        transform = theirs.transforms()
        assert [math.floor(each.size / each.parts["crop_pct"])] == transform.resize_size
        assert [each.size] == transform.crop_size
        assert each.parts["interpolation"] == transform.interpolation.value
        assert theirs.url.endswith(f"-{each.digest}.pth")


def test_a_share_is_never_one_pixel_short():
    for crop in range(1, 520):
        for resized in (crop, crop + 8, crop + 13, 2 * crop - 1):
            assert math.floor(crop / crop_share(crop, resized)) == resized


class TestOfTheRegistry:
    """A ViT-B/16 with one layer would be none: so the noted arguments are those of a small one."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vit = next(family for family in FAMILIES if family.name == "VisionTransformer")
        known = {"patch_size": 8, "num_layers": 2, "hidden_dim": 32, "mlp_dim": 64, "num_heads": 2}
        monkeypatch.setitem(vit.variants, "vit_b_16", known)

    def test_the_heads_are_those_of_the_architecture(self, tmp_path: Path):
        loaded = load(saved(model("vit"), tmp_path / "weights.pth"))
        assert (loaded.arch, loaded.model_kwargs["num_heads"]) == ("vit_b_16", 2)
        assert loaded.class_names is None
        assert loaded.input_sources["mean"].endswith("which nothing in the checkpoint confirms")

    def test_weights_that_torchvision_published_bring_transform_and_classes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        original = model("vit")
        original.heads.head = randomised(nn.Linear(32, 1000))
        path = saved(original, tmp_path / "vit_b_16_lc_swag.pth")
        swag = weight_sets("vit_b_16")[2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(published_weights, "sha256_of", lambda _: swag.digest + digest)
        loaded = load(path)
        assert loaded.preprocessing.interpolation == "bicubic"
        assert loaded.preprocessing.crop_pct == 1
        assert loaded.class_names is not None and loaded.class_names[0] == "tench"
        assert any("IMAGENET1K_SWAG_LINEAR_V1" in note for note in loaded.notes)
        assert not loaded.warnings

    def test_without_them_a_thousand_logits_have_no_names(self, tmp_path: Path):
        original = model("vit")
        original.heads.head = randomised(nn.Linear(32, 1000))
        loaded = load(saved(original, tmp_path / "weights.pth"))
        assert loaded.class_names is None
        assert any("do not prove" in note for note in loaded.notes)

    def test_which_of_several_sets_it_is_must_be_seen(self, tmp_path: Path):
        original = randomised(models.VisionTransformer(224, 8, 2, 2, 32, 64, num_classes=CLASSES))
        path = saved(original, tmp_path / "weights.pth")
        with pytest.warns(UserWarning, match="IMAGENET1K_V1 bilinear, crop 0.875; IMAGENET1K_SWAG_LINEAR_V1 bicubic"):
            loaded = load(path)
        assert loaded.preprocessing.interpolation == "bilinear"
        told = load(path, interpolation="bicubic", crop_pct=1.0, mean=0.5, std=0.5)
        assert told.warnings == ()
        assert told.preprocessing.mean == (0.5, 0.5, 0.5)

    def test_an_architecture_that_is_asked_for_must_be_it(self, tmp_path: Path):
        path = saved(model("vit"), tmp_path / "weights.pth")
        assert load(path, arch="torchvision:vit_b_16").arch == "vit_b_16"
        with pytest.raises(MptqError, match="does not fit --arch vit_l_16: its shapes are those of vit_b_16"):
            load(path, arch="vit_l_16")
        with pytest.raises(MptqError, match="does not fit swin_t of torchvision: it has no features"):
            load(path, arch="swin_t")


def test_heads_that_nothing_shows_are_asked_for(tmp_path: Path):
    path = saved(model("vit"), tmp_path / "weights.pth")
    with pytest.raises(MptqError, match="do not show how many heads it has; pass --model-kwargs"):
        load(path)
    with pytest.raises(MptqError, match="takes no embed_dim"):
        load(path, model_kwargs={"num_heads": 2, "embed_dim": 3})


def test_a_size_that_nothing_shows_is_asked_for(tmp_path: Path):
    with pytest.raises(MptqError, match="pass --img-size"):
        load(saved(model("swin"), tmp_path / "weights.pth"))


def test_the_size_of_position_embeddings_stands(tmp_path: Path):
    with pytest.raises(MptqError, match="is for images of 32x32; leave --img-size out"):
        load(saved(model("vit"), tmp_path / "weights.pth"), img_size=64, **HEADS)


def test_a_linear_layer_in_the_place_of_the_head_is_taken(tmp_path: Path):
    original = model("vit")
    original.heads = randomised(nn.Linear(32, 3))
    loaded = load(saved(original, tmp_path / "weights.pth"), **HEADS)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original(images))


def test_without_a_head_it_is_an_encoder(tmp_path: Path):
    original = model("swin")
    original.head = nn.Identity()
    loaded = load(saved(original, tmp_path / "weights.pth"), img_size=64)
    assert [(each.name, each.kind) for each in loaded.outputs] == [("embedding", "embedding")]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original(images))


def test_a_head_of_several_modules_is_refused(tmp_path: Path):
    original = model("vit")
    original.heads = nn.Sequential(nn.Dropout(), nn.Linear(32, 3))
    with pytest.raises(MptqError, match=r"heads.1.bias belongs to a classifier of your own"):
        load(saved(original, tmp_path / "weights.pth"), **HEADS)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: str):
    tensors = dict(model("vit").state_dict())
    name = "encoder.layers.encoder_layer_1.ln_2.weight"
    if change == "missing":
        del tensors[name]
    else:
        name = "adapter.weight"
        tensors[name] = torch.ones(3)
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(MptqError, match=f"does not fit VisionTransformer of torchvision: {change} {name}"):
        load(tmp_path / "weights.pth", **HEADS)
