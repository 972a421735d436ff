"""`args` of timm's training script: how the model was made and fed, and who is believed where two disagree."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mptq_export.load.inputs import InputOptions, input_options
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

NAME = "vit_tiny_patch16_224"
BUILT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 6}
SWIN = "swin_tiny_patch4_window7_224"
SWIN_BUILT = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
#: What `train.py` stores where nothing was given.
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("gp", "img_size", "input_size", "in_chans", "mean", "std", "crop_pct", "crop_mode", "bn_eps")),
    "num_classes": 5,
    "interpolation": "",
    "model_ema": False,
    "class_map": "",
    "drop_path": 0.1,
    "train_interpolation": "random",
}

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(NAME, num_classes=5, **BUILT).eval()
    return model


@pytest.fixture
def save(tmp_path: Path, vit: nn.Module) -> Save:
    """Writes what `CheckpointSaver` of timm writes, with some args changed; `beside` are other keys."""

    def write(*, as_dict: bool = False, beside: dict[str, Any] | None = None, **args: Any) -> Path:
        found = {**DEFAULTS, "model": NAME, "model_kwargs": BUILT, **args}
        content = {
            "epoch": 1,
            "arch": NAME,
            "state_dict": vit.state_dict(),
            "args": found if as_dict else argparse.Namespace(**found),
            "metric": 1.0,
            **(beside or {}),
        }
        torch.save(content, tmp_path / "m.pth")
        return tmp_path / "m.pth"

    return write


def refusal(path: Path, **kwargs: Any) -> str:
    with pytest.raises(MptqError) as caught:
        load_model(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(path: Path, **options: Any) -> LoadedModel:
    return load_model(path, inputs=input_options(**options))


@pytest.mark.parametrize("as_dict", [True, False])
def test_what_no_tensor_shows_comes_from_args(save: Save, vit: nn.Module, as_dict: bool):
    """Heads do not show in the shapes: without args it is another model."""
    loaded = load_model(save(as_dict=as_dict))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), vit(images))
    assert loaded.model.blocks[0].attn.num_heads == 6
    assert any("num_heads 6" in note and "the checkpoint's args" in note for note in loaded.notes)
    assert loaded.warnings == ()


def largest_pooled(size: int) -> torch.nn.Module:
    """A Swin that pools by the largest value, which no tensor shows."""
    try:
        return timm.create_model(SWIN, num_classes=3, img_size=size, global_pool="max", **SWIN_BUILT).eval()
    except AssertionError:
        pytest.skip("this version of timm has one pooling for Swin")


def test_swins_size_and_pooling(tmp_path: Path):
    torch.manual_seed(0)
    model = largest_pooled(64)
    args = argparse.Namespace(model=SWIN, model_kwargs=SWIN_BUILT, img_size=64, gp="max", num_classes=3)
    torch.save({"arch": SWIN, "state_dict": model.state_dict(), "args": args}, tmp_path / "m.pth")
    loaded = load_model(tmp_path / "m.pth")
    assert loaded.preprocessing.input_size == (3, 64, 64)
    assert loaded.input_sources["img_size"] == "the checkpoint's args"
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.model(images), model(images))


def test_how_images_were_fed(save: Save):
    said = {"mean": [0.1, 0.2, 0.3], "std": [0.4], "interpolation": "bilinear", "crop_pct": 0.8, "crop_mode": "squash"}
    loaded = load_model(save(**said))
    found = loaded.preprocessing
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))
    assert (found.interpolation, found.crop_pct, found.crop_mode) == ("bilinear", 0.8, "squash")
    assert {loaded.input_sources[part] for part in said} == {"the checkpoint's args"}
    assert f"the default of {NAME} would have been mean 0.5, std 0.5, " in loaded.notes[-1]


def test_none_and_empty_texts_are_not_given(save: Save):
    loaded = load_model(save())
    assert (loaded.preprocessing.mean, loaded.preprocessing.crop_pct) == ((0.5, 0.5, 0.5), 0.9)
    assert loaded.input_sources["mean"] == f"the default of {NAME}, which nothing in the checkpoint confirms"
    assert loaded.input_sources["img_size"] == "the checkpoint's args"
    assert loaded.input_sources["in_chans"] == "the weights"


@pytest.mark.parametrize("drawn", ["random", "bilinear,bicubic", ["bilinear", "bicubic"]])
def test_filters_that_only_training_draws_are_told(save: Save, drawn: Any):
    loaded = load_model(save(interpolation=drawn))
    assert loaded.preprocessing.interpolation == "bicubic"
    assert "only training can use" in loaded.warnings[0]


def test_the_order_is_option_checkpoint_configuration_and_a_conflict_is_told(save: Save):
    path = save(mean=[0.1] * 3, std=[0.2] * 3, beside={"pretrained_cfg": {"mean": (0.3,) * 3, "crop_pct": 1.0}})
    loaded = read(path, std=0.6)
    found, sources = loaded.preprocessing, loaded.input_sources
    assert (found.mean, found.std, found.crop_pct) == ((0.1,) * 3, (0.6,) * 3, 1.0)
    assert [sources[part] for part in ("mean", "std", "crop_pct", "interpolation")] == [
        "the checkpoint's args",
        "--std",
        "the checkpoint's pretrained_cfg",
        f"the default of {NAME}, which nothing in the checkpoint confirms",
    ]
    assert loaded.warnings == (
        "mean: 0.1 of the checkpoint's args is taken, not 0.3 of the checkpoint's pretrained_cfg",
        "std: 0.6 of --std is taken, not 0.2 of the checkpoint's args",
    )


def test_one_number_and_the_same_for_every_channel_is_no_conflict(save: Save):
    assert read(save(mean=[0.1] * 3), mean=0.1).warnings == ()


def test_arguments_of_the_model_have_the_same_order(save: Save):
    path = save(beside={"model_kwargs": {"num_heads": 3}})
    loaded = load_model(path)
    assert loaded.model.blocks[0].attn.num_heads == 3
    assert loaded.warnings == (
        "num_heads: 3 of the checkpoint's model_kwargs is taken, not 6 of the checkpoint's args",
    )
    assert load_model(path, model_kwargs={"num_heads": 2}).model.blocks[0].attn.num_heads == 2


def test_tensors_are_believed_more_than_args(save: Save):
    kwargs = {name: value for name, value in BUILT.items() if name != "img_size"}
    loaded = load_model(save(num_classes=1000, img_size=64, in_chans=1, model_kwargs=kwargs))
    assert loaded.preprocessing.input_size == (3, 32, 32)
    assert loaded.warnings == (
        "num_classes: 5 of the weights is taken, not 1000 of the checkpoint's args",
        "img_size: 32x32 of the weights is taken, not 64x64 of the checkpoint's args",
        "in_chans: 3 of the weights is taken, not 1 of the checkpoint's args",
    )


def test_a_size_that_is_no_square_comes_from_args(tmp_path: Path):
    kwargs = {**BUILT, "img_size": (32, 16)}
    model = timm.create_model(NAME, num_classes=5, **kwargs)
    args = {"model": NAME, "model_kwargs": {**BUILT, "img_size": None}, "input_size": [3, 32, 16]}
    args["model_kwargs"].pop("img_size")
    torch.save({"state_dict": model.state_dict(), "args": args}, tmp_path / "m.pth")
    assert load_model(tmp_path / "m.pth").preprocessing.input_size == (3, 32, 16)


def test_images_larger_than_the_positions_that_they_are_resized_to(save: Save):
    loaded = load_model(save(img_size=48, model_kwargs={**BUILT, "dynamic_img_size": True}))
    assert loaded.preprocessing.input_size == (3, 32, 32)  # model_kwargs name the size: it stands
    kwargs = {name: value for name, value in BUILT.items() if name != "img_size"}
    loaded = load_model(save(img_size=48, model_kwargs={**kwargs, "dynamic_img_size": True}))
    assert (loaded.preprocessing.input_size, loaded.model_kwargs["img_size"]) == ((3, 48, 48), 32)


def test_an_average_that_is_not_there_and_a_class_map(save: Save, vit: nn.Module):
    loaded = load_model(save(model_ema=True, class_map="classes.txt"))
    assert "the file holds none" in loaded.warnings[0]
    assert "trained with --class-map classes.txt" in loaded.warnings[1]
    assert load_model(save(model_ema=True, beside={"state_dict_ema": vit.state_dict()})).warnings == ()


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ((), "state_dict of the file"),
        (("state_dict_ema",), "state_dict_ema of the file, an average over training steps (state_dict not taken)"),
        (("model",), "state_dict of the file (model not taken)"),
    ],
)
def test_which_weights_were_taken(save: Save, vit: nn.Module, beside: tuple[str, ...], words: str):
    assert load_model(save(beside={key: vit.state_dict() for key in beside})).weights == words


def test_a_bare_state_dict_and_an_averaged_model(tmp_path: Path, vit: nn.Module):
    averaged = {"n_averaged": torch.tensor(3), **{f"module.{name}": t for name, t in vit.state_dict().items()}}
    for content in (dict(vit.state_dict()), averaged):
        torch.save(content, tmp_path / "m.pth")
        loaded = load_model(tmp_path / "m.pth", arch=NAME, model_kwargs=BUILT)
        assert loaded.weights == "the file's tensors"
    assert any(note.startswith("n_averaged left out") for note in loaded.notes)


def test_another_architecture_than_the_checkpoints_is_told(save: Save):
    other = "deit_tiny_patch16_224"
    assert load_model(save(), arch=f"{NAME}.augreg_in21k").warnings == ()
    assert load_model(save(), arch=other).warnings == (
        f"arch: {other} of --arch is taken, not {NAME} of the checkpoint",
    )


def test_a_name_that_timm_does_not_know(save: Save):
    """`CheckpointSaver` without args stores the name of the class."""
    assert load_model(save(beside={"arch": "visiontransformer"})).arch == NAME
    message = refusal(save(model="visiontransformer", beside={"arch": "visiontransformer"}))
    assert "pass --arch" in message


def test_pooling_of_a_stored_configuration(tmp_path: Path):
    model = largest_pooled(32)
    kwargs = {**SWIN_BUILT, "img_size": 32}
    content = {"arch": SWIN, "model_kwargs": kwargs, "pretrained_cfg": {"global_pool": "max"}}
    torch.save({**content, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    assert load_model(tmp_path / "m.pth").model.head.global_pool.pool_type == "max"
    torch.save({**content, "args": {"gp": "avg"}, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    loaded = load_model(tmp_path / "m.pth")
    assert loaded.warnings == (
        "global_pool: avg of the checkpoint's args is taken, not max of the checkpoint's pretrained_cfg",
    )


# -- what args may not do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"pretrained": True},
        {"checkpoint_path": "/etc/passwd"},
        {"depth": 60_000},
        {"embed_dim": 2**40},
        {7: 1},
    ],
    ids=str,
)
def test_args_go_through_the_same_guard(save: Save, kwargs: dict[Any, Any]):
    assert "its args " in refusal(save(model_kwargs={**BUILT, **kwargs}))


@pytest.mark.parametrize(
    ("key", "value", "option", "mended"),
    [
        ("mean", "abc", "--mean", {"mean": 0.5}),
        ("mean", [float("nan")] * 3, "--mean", {"mean": 0.5}),
        ("mean", [0.1] * 10**5, "--mean", {"mean": 0.5}),
        ("std", [[0.1]], "--std", {"std": 0.5}),
        ("std", [0.1, 0.2], "--std", {"std": 0.5}),
        ("std", [0.0] * 3, "--std", {"std": 0.5}),
        ("crop_pct", "x", "--crop-pct", {"crop_pct": 1.0}),
        ("crop_pct", -1.0, "--crop-pct", {"crop_pct": 1.0}),
        ("crop_mode", 3, "--crop-mode", {"crop_mode": "center"}),
        ("crop_mode", "round", "--crop-mode", {"crop_mode": "center"}),
        ("interpolation", 3, "--interpolation", {"interpolation": "bicubic"}),
        ("interpolation", "../x", "--interpolation", {"interpolation": "bicubic"}),
        ("in_chans", 10**9, "--in-chans", {"in_chans": 3}),
        ("img_size", "x", "--img-size", {"img_size": 32}),
        ("input_size", [3], "--in-chans", {"img_size": 32, "in_chans": 3}),
    ],
    ids=str,
)
def test_values_of_another_kind_name_the_option_that_mends_them(
    save: Save, key: str, value: Any, option: str, mended: dict[str, Any]
):
    kwargs = {name: value for name, value in BUILT.items() if name != "img_size"}
    path = save(model_kwargs=kwargs, **{key: value})
    assert option in refusal(path)
    assert read(path, **mended).preprocessing.input_size == (3, 32, 32)


def test_args_that_are_none_are_told(save: Save):
    path = save(beside={"args": "python train.py", "model_kwargs": BUILT})
    assert load_model(path).warnings == (
        "the checkpoint's args are a str, neither a dict nor a Namespace: they were not read",
    )
    assert "not a dict" in refusal(save(model_kwargs="num_heads=6"))


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_that_contradict_each_other(save: Save):
    path = save()
    message = refusal(path, model_kwargs={"img_size": 64}, inputs=InputOptions(img_size=(32, 32)))
    assert "--img-size 32 and --model-kwargs with img_size 64 contradict" in message
    assert load_model(path, model_kwargs={"img_size": 32}, inputs=InputOptions(img_size=(32, 32)))


def test_a_size_that_the_tensors_do_not_have(save: Save):
    assert "pos_embed [1, 17, 48] instead of [1, 65, 48]" in refusal(save(), inputs=InputOptions(img_size=(64, 64)))


def test_a_size_beside_a_swin_that_has_any(tmp_path: Path):
    model = timm.create_model(SWIN, num_classes=3, img_size=64, **SWIN_BUILT)
    content = {"arch": SWIN, "model_kwargs": {**SWIN_BUILT, "img_size": 32}, "state_dict": model.state_dict()}
    torch.save(content, tmp_path / "m.pth")
    loaded = read(tmp_path / "m.pth", img_size=64)
    assert loaded.preprocessing.input_size == (3, 64, 64)
    assert loaded.input_sources["img_size"] == "--img-size"
    assert loaded.warnings == ("img_size: 64 of --img-size is taken, not 32 of the checkpoint's model_kwargs",)


def test_a_stored_configuration_tells_a_swins_size(tmp_path: Path):
    model = timm.create_model(SWIN, num_classes=3, img_size=64, **SWIN_BUILT)
    about = {"arch": SWIN, "model_kwargs": SWIN_BUILT, "pretrained_cfg": {"input_size": (3, 64, 64)}}
    torch.save({**about, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    loaded = load_model(tmp_path / "m.pth")
    assert loaded.preprocessing.input_size == (3, 64, 64)
    assert loaded.input_sources["img_size"] == "the checkpoint's pretrained_cfg"


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_show_in_the_weights_and_need_a_mean(tmp_path: Path, channels: int):
    model = timm.create_model(NAME, num_classes=5, in_chans=channels, **BUILT)
    torch.save({"arch": NAME, "model_kwargs": BUILT, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    message = refusal(tmp_path / "m.pth")
    assert f"{channels} channel" in message and "--mean" in message
    assert "--std" in refusal(tmp_path / "m.pth", inputs=InputOptions(mean=(0.5,)))
    assert "overrule it with --mean" in refusal(tmp_path / "m.pth", inputs=InputOptions(mean=(0.5, 0.5), std=(1,)))
    loaded = read(tmp_path / "m.pth", mean=0.5, std=0.25)
    assert loaded.preprocessing.input_size == (channels, 32, 32)
    assert loaded.preprocessing.mean == (0.5,) * channels


def test_a_pickled_module_is_built_already(tmp_path: Path, vit: nn.Module):
    torch.save(vit, tmp_path / "m.pt")
    loaded = load_model(tmp_path / "m.pt", trust=True, inputs=input_options(mean=0.1, img_size=32))
    assert loaded.preprocessing.mean == (0.1,) * 3
    assert (loaded.input_sources["mean"], loaded.weights) == ("--mean", "the pickled module")
    for option in ("in_chans", "img_size"):
        said = option.replace("_", "-")
        assert f"leave --{said} out" in refusal(tmp_path / "m.pt", trust=True, inputs=input_options(**{option: 64}))


def test_the_hub_takes_options(monkeypatch: pytest.MonkeyPatch, vit: nn.Module):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: asked.append((name, kwargs)) or vit)
    loaded = load_model(f"timm:{NAME}", inputs=input_options(img_size=32, std=0.1))
    assert asked == [(NAME, {"pretrained": True, "img_size": (32, 32)})]
    assert (loaded.preprocessing.std, loaded.input_sources["std"]) == ((0.1,) * 3, "--std")
    assert loaded.input_sources["mean"] == f"timm's configuration of {NAME}"


def test_values_that_are_no_numbers():
    for bad in ({"mean": "x"}, {"std": [None]}, {"img_size": "ab"}, {"mean": []}, {"img_size": 0}, {"in_chans": 0}):
        with pytest.raises(MptqError):
            input_options(**bad)
