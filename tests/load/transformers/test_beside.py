"""Files with the library's names: loaded with the config.json beside them, and told what they need without."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import KINDS as TIMM
from tiny_models import tiny

from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.names import are_of_transformers
from mptq_export.support.errors import MptqError

library = pytest.importorskip("transformers", reason="folders of transformers are read by transformers")
from transformers_models import KINDS, built, saved  # noqa: E402 - it needs the library

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_are_known_by_their_names(name: str):
    assert are_of_transformers(built(KINDS[name]).state_dict())


@pytest.mark.parametrize("name", ["vit", "dinov2_reg", "swin"])
def test_no_kind_of_timm_is(name: str):
    assert not are_of_transformers(tiny(name).state_dict())


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("vit", ""), ("vit", "net._orig_mod."), ("siglip_vision", "model."), ("dinov2", ""), ("dinov2", "model.")],
)
def test_a_training_checkpoint_beside_its_configuration(tmp_path: Path, kind: str, prefix: str):
    own: Any = saved(KINDS[kind], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    tensors = {prefix + name: tensor for name, tensor in own.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "best.ckpt")
    found = load_asked(ModelRequest(str(tmp_path / "best.ckpt")))
    output = found.outputs[0].name
    torch.testing.assert_close(found.model(X), own(pixel_values=X)[output], rtol=1e-5, atol=1e-5)
    assert found.weights.startswith("state_dict of the file")


def test_the_file_of_a_folders_weights_is_the_folder(tmp_path: Path):
    own: Any = saved(KINDS["vit"], tmp_path)
    found = load_asked(ModelRequest(str(tmp_path / "model.safetensors")))
    torch.testing.assert_close(found.model(X), own(pixel_values=X).logits, rtol=1e-5, atol=1e-5)


def test_without_a_configuration_the_message_says_what_is_needed(tmp_path: Path):
    save_file(built(KINDS["vit"]).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        MptqError, match=r"names are those of Hugging Face transformers: put the model's config\.json and"
    ):
        load_asked(ModelRequest(str(tmp_path / "model.safetensors")))


def test_weights_that_do_not_fit_the_configuration(tmp_path: Path):
    own: Any = saved(KINDS["vit"], tmp_path)
    tensors = own.state_dict()
    del tensors["classifier.bias"]
    torch.save(tensors, tmp_path / "best.pt")
    with pytest.raises(MptqError, match=r"lacks weights of ViTForImageClassification: classifier\.bias"):
        load_asked(ModelRequest(str(tmp_path / "best.pt")))


def test_a_file_of_timm_in_such_a_folder_is_timms(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}), encoding="utf-8")
    name, arguments = TIMM["vit"]
    torch.save({"arch": name, "model_kwargs": arguments, "state_dict": tiny("vit").state_dict()}, tmp_path / "m.pt")
    found = load_asked(ModelRequest(str(tmp_path / "m.pt"), inputs=InputOptions(mean=(0.5,), std=(0.5,))))
    assert found.library == "timm"
