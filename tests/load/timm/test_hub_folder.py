"""Folders of timm's hub, and the `config.json` beside a file: what it says, and who is believed before it."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaders import load_model
from mptq_export.load.timm.config_json import is_timm_config
from tests.load.timm.helpers import IMAGES, VIT, WRITES_ARGUMENTS, model_of, refusal

pytestmark = WRITES_ARGUMENTS

NAME = "vit_tiny_patch16_224"
LABELS = list("abcdefg")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return model_of(NAME, **VIT, img_size=32, num_classes=7, global_pool="avg", fc_norm=False)


@pytest.fixture
def folder(tmp_path: Path, model: nn.Module) -> Path:
    more = {"label_names": LABELS, "label_descriptions": {label: label.upper() for label in LABELS}}
    save_for_hf(
        model, str(tmp_path / "hub"), model_config=more, data_config={"crop_pct": 0.8}, safe_serialization="both"
    )
    return tmp_path / "hub"


def changed(folder: Path, **values: Any) -> None:
    """Other values in the configuration; None takes one away."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize("file", ["", "model.safetensors", "pytorch_model.bin"])
def test_the_folder_and_its_files(folder: Path, model: nn.Module, file: str):
    loaded = load_model(folder / file)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(loaded.model(IMAGES), theirs(IMAGES))
    assert (loaded.arch, loaded.arch_source) == (NAME, "named by config.json")
    assert loaded.class_names == tuple(LABELS)
    assert loaded.preprocessing.crop_pct == 0.8
    assert set(loaded.input_sources.values()) == {"config.json"}
    assert loaded.warnings == ()
    assert loaded.asked.name == str(folder / file)


def test_a_model_that_transformers_wraps(folder: Path, model: nn.Module):
    """Its configuration is timm's with a type, and its names begin with `timm_model.`."""
    changed(folder, model_type="timm_wrapper", architectures=["TimmWrapperForImageClassification"])
    (folder / "model.safetensors").unlink()
    wrapped = {f"timm_model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(wrapped, folder / "pytorch_model.bin")
    loaded = load_model(folder)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert loaded.warnings == ()


@pytest.mark.parametrize("arch", ["swin_tiny_patch4_window7_224", "vit_base_patch16_siglip_224"])
def test_what_no_tensor_shows(tmp_path: Path, arch: str):
    """A Swin for another size, and a tower without classes."""
    size = {"window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "global_pool": "max"}
    kwargs = {**(size if arch.startswith("swin") else VIT), "img_size": 64}
    saved_one = model_of(arch, **kwargs)
    save_for_hf(saved_one, str(tmp_path), safe_serialization=True)
    loaded = load_model(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.model(images), saved_one(images))
    assert loaded.preprocessing.input_size == (3, 64, 64)


def test_a_configuration_in_one_piece(folder: Path, model: nn.Module):
    """As timm wrote it at first: all of `pretrained_cfg` beside the architecture, and `labels`."""
    config = json.loads((folder / "config.json").read_text())
    flat = {**config.pop("pretrained_cfg"), **config, "labels": config.pop("label_names"), "mean": [0.1, 0.2, 0.3]}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in flat.items() if key != "label_names"}))
    loaded = load_model(folder)
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert (loaded.preprocessing.mean, loaded.class_names) == ((0.1, 0.2, 0.3), tuple(LABELS))


def test_who_is_believed_before_it(folder: Path, model: nn.Module):
    loaded = load_model(folder, model_kwargs={"global_pool": "token"}, inputs=InputOptions(crop_pct=0.7))
    assert loaded.preprocessing.crop_pct == 0.7
    assert not torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert "global_pool: token of --model-kwargs is taken, not avg of config.json" in loaded.warnings
    assert "crop_pct: 0.7 of --crop-pct is taken, not 0.8 of config.json" in loaded.warnings
    named = {"arch": NAME, "state_dict": model.state_dict(), "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    torch.save({**named, "class_names": [*"tuvwxyz"]}, folder / "own.pt")
    loaded = load_model(folder / "own.pt")
    assert (loaded.arch_source, loaded.class_names) == ("named by the checkpoint", tuple("tuvwxyz"))
    assert loaded.preprocessing.mean == (0.1, 0.2, 0.3)
    assert any("not 0.5 of config.json" in warning for warning in loaded.warnings)


def test_a_configuration_of_another_model_is_left(folder: Path):
    other = model_of("deit3_small_patch16_224", **VIT, img_size=32, num_classes=3)
    torch.save({"arch": "deit3_small_patch16_224", "state_dict": other.state_dict()}, folder / "other.pt")
    loaded = load_model(folder / "other.pt", model_kwargs=VIT)
    assert torch.equal(loaded.model(IMAGES), other(IMAGES))
    assert loaded.class_names is None
    assert f"is of {NAME}, not of deit3_small_patch16_224: not read" in loaded.warnings[0]


@pytest.mark.parametrize(
    ("labels", "names"),
    [({str(i): label for i, label in enumerate("abcdefg")}, LABELS), ({"0": "a", "6": "g"}, None), ([1, 2], None)],
)
def test_names_by_number(folder: Path, labels: Any, names: list[str] | None):
    changed(folder, label_names=labels)
    loaded = load_model(folder)
    assert loaded.class_names == (tuple(names) if names else None)
    assert any("label_names" in warning for warning in loaded.warnings) == (names is None)


def test_names_of_another_number_are_left_out(folder: Path):
    changed(folder, label_names=["a", "b"])
    assert load_model(folder).warnings == ("2 class names are left out: the model has 7 logits",)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"architecture": "nope"}, "timm has no architecture 'nope'"),
        ({"pretrained_cfg": [1]}, "its pretrained_cfg is a list, not a dict"),
        ({"model_args": [1]}, "its model_args are a list, not a dict"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "'checkpoint_path', which a checkpoint may not decide"),
        ({"model_args": {**VIT, "depth": 10**9}}, "a value that no model has"),
        (
            {"model_args": {**VIT, "fc_norm": False}, "num_classes": 3},
            "num_classes: 7 of the weights is taken, not 3 of config.json",
        ),
    ],
)
def test_what_it_may_not_say(folder: Path, values: dict[str, Any], told: str):
    changed(folder, **values)
    if told.startswith("num_classes"):
        assert told in load_model(folder).warnings
    else:
        assert told in refusal(folder)


@pytest.mark.parametrize(
    ("config", "timms"),
    [
        ({"architecture": NAME}, True),
        ({"architecture": NAME, "model_type": "timm_wrapper"}, True),
        ({"architecture": NAME, "model_type": "vit"}, False),
        ({"architectures": ["ViTModel"], "model_type": "vit"}, False),
        ({"architecture": ["x"]}, False),
        ({}, False),
    ],
)
def test_whose_a_configuration_is(config: dict[str, Any], timms: bool):
    assert is_timm_config(config) == timms
