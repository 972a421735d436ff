"""Adapters of PEFT, merged into a base that is given."""

import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mptq_export.api import load
from mptq_export.load.doors import check_asked
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers import adapter_folder
from mptq_export.support.errors import MptqError

library = pytest.importorskip("transformers", reason="folders of transformers are read by transformers")
peft = pytest.importorskip("peft", reason="adapters are merged by peft")
from transformers_models import KINDS, NAMES, saved  # noqa: E402 - it needs the library

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def adapted(base: Path, folder: Path, labels: int | None = None, **settings: Any) -> Any:
    """Write an adapter of random weights for a base; give the model that has both."""
    sized = {} if labels is None else {"num_labels": labels, "ignore_mismatched_sizes": True}
    model = library.ViTForImageClassification.from_pretrained(base, **sized)
    # Newer versions of the library call them by the first two names, older by the others.
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "query", "value"], **settings)
    model = peft.get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapter of it that nobody changes."""
    folder = tmp_path_factory.mktemp("peft")
    saved(KINDS["vit"], folder / "base")
    adapted(folder / "base", folder / "adapter")
    return folder


@pytest.fixture
def both(made: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    shutil.copytree(made, tmp_path / "both")
    return tmp_path / "both"


def test_the_numbers_of_the_adapted_model(both: Path):
    own = peft.PeftModel.from_pretrained(
        library.ViTForImageClassification.from_pretrained(both / "base"), both / "adapter"
    ).eval()
    found = load(both / "adapter", base=both / "base")
    torch.testing.assert_close(found.model(X), own(pixel_values=X).logits, rtol=1e-5, atol=1e-5)
    plain = load(both / "base")
    assert (found.model(X) - plain.model(X)).abs().max() > 0.1
    assert (found.class_names, found.preprocessing) == (NAMES, plain.preprocessing)
    assert found.notes[0].startswith("the adapter (8 tensors) is merged by peft ")
    assert not any("lora" in name for name in found.model.state_dict())


@pytest.mark.parametrize("named", [True, False])
def test_a_classifier_of_its_own_has_classes_of_its_own(tmp_path: Path, named: bool):
    saved(KINDS["vit"], tmp_path / "base")
    own = adapted(tmp_path / "base", tmp_path / "adapter", 3, modules_to_save=["classifier"])
    if named:
        content = {"model_type": "vit", "id2label": {0: "x", 1: "y", 2: "z"}}
        (tmp_path / "adapter" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    found = load(tmp_path / "adapter", base=tmp_path / "base")
    torch.testing.assert_close(found.model(X), own(pixel_values=X).logits, rtol=1e-5, atol=1e-5)
    assert found.class_names == (("x", "y", "z") if named else None)


@pytest.mark.skipif(
    tuple(map(int, library.__version__.split(".")[:2])) < (5, 17),
    reason="this version of transformers does not rename the weights of a bare model for a class with a head",
)
def test_a_base_without_a_classifier(tmp_path: Path):
    saved(KINDS["vit_model"], tmp_path / "base")
    own = adapted(tmp_path / "base", tmp_path / "adapter", 3, modules_to_save=["classifier"])
    found = load(tmp_path / "adapter", base=tmp_path / "base")
    torch.testing.assert_close(found.model(X), own(pixel_values=X).logits, rtol=1e-5, atol=1e-5)


def refused(asked: ModelRequest) -> str:
    with pytest.raises(MptqError) as error:
        load_asked(asked)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_a_base(both: Path):
    told = refused(ModelRequest(str(both / "adapter")))
    assert "is an adapter of PEFT, which changes another model: pass that model's folder with --base, such as" in told


def test_a_base_that_is_none(both: Path):
    told = refused(ModelRequest(str(both / "adapter"), base=str(both)))
    assert f"--base {both} is no folder of transformers with a config.json" in told


def test_a_base_for_a_whole_model(both: Path):
    told = refused(ModelRequest(str(both / "base"), base=str(both / "base")))
    assert "--base is for adapters of PEFT" in told


def test_another_base(both: Path):
    saved(KINDS["dinov2_registers"], both / "other")
    told = refused(ModelRequest(str(both / "adapter"), base=str(both / "other")))
    assert "is of model_type dinov2_with_registers, and the adapter was made for a ViTForImageClassification;" in told


def test_tensors_that_have_no_place(both: Path):
    path = both / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["base_model.model.vit.layers.9.attention.q_proj.lora_A.weight"] = torch.ones(2, 32)
    save_file(tensors, path)
    told = refused(ModelRequest(str(both / "adapter"), base=str(both / "base")))
    assert "has no place for base_model.model.vit.layers.9.attention.q_proj.lora_A.weight;" in told


def test_tensors_that_are_missing(both: Path):
    path = both / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    del tensors[name]
    save_file(tensors, path)
    told = refused(ModelRequest(str(both / "adapter"), base=str(both / "base")))
    assert f"needs {name}, which the adapter does not have" in told


def test_no_weights(both: Path):
    path = both / "adapter" / "adapter_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    told = refused(ModelRequest(str(both / "adapter"), base=str(both / "base")))
    assert "has only adapter_model.bin, a pickle; save the adapter with save_pretrained again" in told


def test_without_peft(both: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(adapter_folder, "version", absent)
    with pytest.raises(MptqError, match="which is not installed here: pip install peft"):
        check_asked(ModelRequest(str(both / "adapter"), base=str(both / "base")))
