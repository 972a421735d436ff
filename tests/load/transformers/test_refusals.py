"""Folders that are not exported: one line each, with the way out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mptq_export.load.doors import check_asked
from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers import library as room
from mptq_export.support.errors import MptqError

library = pytest.importorskip("transformers", reason="folders of transformers are read by transformers")
from transformers_models import KINDS, saved  # noqa: E402 - it needs the library

PLAIN = {"mean": (0.5,), "std": (0.5,)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a ViT that nobody changes."""
    folder = tmp_path_factory.mktemp("vit")
    saved(KINDS["vit"], folder)
    return folder


@pytest.fixture
def vit(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    folder = tmp_path / "vit"
    shutil.copytree(made, folder)
    return folder


def refused(folder: Path, **said: Any) -> str:
    """The one line that loading it gives."""
    with pytest.raises(MptqError) as error:
        load_asked(ModelRequest(str(folder), **said))
    text = str(error.value)
    assert "\n" not in text
    return text


def configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_weights_that_are_missing(vit: Path):
    rewrite(vit, lambda tensors: tensors.pop("classifier.bias"))
    told = refused(vit)
    assert "lacks weights of ViTForImageClassification: classifier.bias; they would be random" in told
    assert f"written by transformers {library.__version__}" in told


def test_weights_that_are_left_over(vit: Path):
    rewrite(vit, lambda tensors: tensors.update({f"extra.{n}": torch.zeros(2) for n in range(6)}))
    assert "no place for: extra.0, extra.1, extra.2, extra.3 and 2 more; give the folder" in refused(vit)


def test_weights_of_another_shape(vit: Path):
    configure(vit, id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1})
    assert "classifier.bias is 5 in the file and 2 in config.json's ViTForImageClassification and 1 more" in refused(
        vit
    )


def test_weights_that_are_no_numbers(vit: Path):
    rewrite(vit, lambda tensors: tensors["classifier.bias"].fill_(torch.nan))
    assert "classifier.bias holds NaN or Inf" in refused(vit)


@pytest.mark.parametrize("name", ["position_ids", "relative_position_index"])
def test_buffers_of_older_versions_are_no_weights(vit: Path, name: str):
    rewrite(vit, lambda tensors: tensors.update({f"vit.embeddings.{name}": torch.arange(4)}))
    assert load_asked(ModelRequest(str(vit))).warnings == ()


def test_another_task(tmp_path: Path):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    library.BertModel(library.BertConfig(**small, vocab_size=50)).save_pretrained(tmp_path)
    assert "is a BertModel (model_type bert), whose input is input_ids, not pictures alone" in refused(tmp_path)
    configure(tmp_path, model_type="whisper", architectures=["WhisperForConditionalGeneration"])
    assert "WhisperForConditionalGeneration (model_type whisper), whose input is input" in refused(tmp_path)


def test_a_model_that_needs_more_than_pictures(tmp_path: Path):
    config = library.Siglip2VisionConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, patch_size=8, num_patches=16
    )
    library.Siglip2VisionModel(config).save_pretrained(tmp_path)
    inputs = InputOptions(**PLAIN, img_size=(32, 32))
    assert "Siglip2VisionModel needs more than pictures (TypeError" in refused(tmp_path, inputs=inputs)


def test_a_size_that_the_model_does_not_take(vit: Path):
    told = refused(vit, inputs=InputOptions(img_size=(40, 40)))
    assert "ViTForImageClassification does not take pictures of 40x40 (ValueError: Input image size (40*40)" in told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"auto_map": {"AutoModel": "x--modeling.X"}}, "wants code of its own to run (auto_map)"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already"),
        ({"architectures": []}, "names no class (architectures)"),
        ({"architectures": ["NoSuchModel"]}, "is a NoSuchModel (model_type vit), which transformers"),
        ({"architectures": ["AutoModel"]}, "is a AutoModel (model_type vit), which transformers"),
        ({"architectures": ["os"]}, "is a os (model_type vit), which transformers"),
        ({"architectures": ["SwinModel"]}, "contradicts itself: model_type vit and architectures SwinModel"),
        ({"model_type": "no_such_type"}, "cannot read"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is a number that no model with these weights has"),
        ({"hidden_size": 10**9}, "hidden_size is a number that no model"),
        ({"hidden_size": 2**16}, "they do not belong together"),
        ({"patch_size": 0}, "cannot build ViTForImageClassification"),
        ({"hidden_size": "wide"}, "cannot read"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights names what else is to be opened"),
        ({"_attn_implementation": "some/kernel"}, "_attn_implementation names what else is to be opened"),
        ({"vision_config": {"attn_implementation": "a/b"}}, "attn_implementation names what else is to be opened"),
        ({"x": [[0] * 200] * 200}, "has more values than any model needs"),
    ],
)
def test_configurations_that_are_not_built(vit: Path, values: dict[str, Any], told: str):
    configure(vit, **values)
    assert told in refused(vit)


def test_an_adapter_in_the_folder_of_a_whole_model(vit: Path):
    (vit / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "holds a whole model and an adapter (adapter_config.json); take the adapter out" in refused(vit)


def test_code_of_a_processors_own(vit: Path):
    content = {"auto_map": {"AutoImageProcessor": "processing.P"}}
    (vit / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    assert "preprocessor_config.json wants code of its own" in refused(vit)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff", "[" * 10**5])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_damaged_json(vit: Path, file: str, text: str):
    (vit / file).write_text(text, encoding="latin-1")
    assert file in refused(vit)


def test_weights_that_are_cut_short(vit: Path):
    path = vit / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read as safetensors" in refused(vit)


def test_no_weights(vit: Path):
    (vit / "model.safetensors").unlink()
    assert "has no weights that can be read here (model.safetensors, also sharded" in refused(vit)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ({"weight_map": {"a": "../other.safetensors"}}, "is no index of shards (it names '../other.safetensors')"),
        ({"weight_map": {"a": "config.json"}}, "is no index of shards (it names 'config.json')"),
        ({"weight_map": {}}, "it names no file"),
        ({}, "it names no file"),
        ({"weight_map": {"a": "model-1.safetensors"}}, "names model-1.safetensors, which is not in the folder"),
    ],
)
def test_an_index_that_is_none(vit: Path, index: dict[str, Any], told: str):
    (vit / "model.safetensors").unlink()
    (vit / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert told in refused(vit)


@pytest.mark.parametrize("said", [{"arch": "vit_tiny_patch16_224"}, {"model_kwargs": {"x": 1}}])
def test_options_of_timm(vit: Path, said: dict[str, Any]):
    assert "is for models of timm" in refused(vit, **said)


def test_other_channels(vit: Path):
    assert "config.json says 3, and the weights are made for that" in refused(vit, inputs=InputOptions(in_chans=1))
    assert load_asked(ModelRequest(str(vit), inputs=InputOptions(in_chans=3))).warnings == ()


def test_feature_maps_of_timm(vit: Path):
    assert "--features: there is no way to feature maps of ViTForImageClassification" in refused(vit, features=())


def test_without_the_library(vit: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> str:
        raise room.PackageNotFoundError(name)

    monkeypatch.setattr(room, "version", absent)
    told = f"is a folder of Hugging Face transformers, which is not installed here: {room.EXTRA}"
    with pytest.raises(MptqError, match="not installed here: pip install 'mptq-export") as error:
        check_asked(ModelRequest(str(vit)))
    assert told in str(error.value)


def test_an_old_library(vit: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "version", lambda _: "4.57.1")
    with pytest.raises(MptqError, match=r"transformers 4\.57\.1 is too old for .* needs 5\.5 or newer"):
        check_asked(ModelRequest(str(vit)))
