"""Folders of transformers as float models: the library's own numbers, under its names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mptq_export.load import loaders
from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError

library = pytest.importorskip("transformers", reason="folders of transformers are read by transformers")
from transformers_models import CLASSES, KINDS, MORE, NAMES, Kind, saved  # noqa: E402 - it needs the library

ALL = KINDS | MORE
EACH = [*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


def loaded(folder: Path, **said: Any) -> LoadedModel:
    return load_asked(ModelRequest(str(folder), **said))


def given(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """All outputs of a model."""
    with torch.no_grad():
        found = model(x)
    return list(found) if isinstance(found, tuple) else [found]


def of_library(kind: Kind, model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the library's own model gives for pictures, by the way that its users take."""
    with torch.no_grad():
        if kind.model == "CLIPModel":
            return {"image_embeds": model.get_image_features(pixel_values=x).pooler_output}
        if kind.model == "SiglipModel":
            return {"pooler_output": model.get_image_features(pixel_values=x).pooler_output}
        if kind.model == "SamModel":
            return {"image_embeddings": model.get_image_embeddings(x)}
        if kind.model == "ViTMAEForPreTraining":
            model.config.mask_ratio = model.vit.config.mask_ratio = 0.0
            patches = model.vit.embeddings.patch_embeddings.num_patches
            noise = torch.arange(float(patches)).expand(len(x), -1)  # an order that leaves all where it is
            return dict(model.vit(x, noise=noise))
        return dict(model(pixel_values=x))


@pytest.mark.parametrize("name", EACH)
def test_the_numbers_of_the_library_under_its_names(tmp_path: Path, name: str):
    kind = ALL[name]
    own = saved(kind, tmp_path)
    found = loaded(tmp_path)
    assert {each.name: each.kind for each in found.outputs} == kind.outputs
    assert (found.library, found.warnings) == ("transformers", ())
    assert found.preprocessing.input_size == (3, kind.size, kind.size)
    assert found.class_names == (NAMES if "logits" in kind.outputs.values() else None)
    x = torch.randn(3, 3, kind.size, kind.size, generator=torch.Generator().manual_seed(1))
    theirs = of_library(kind, own, x)
    for output, ours in zip(found.outputs, given(found.model, x), strict=True):
        torch.testing.assert_close(ours, theirs[output.name], rtol=1e-5, atol=1e-5)
        assert ours.std() > 0.01  # not a constant


@pytest.mark.parametrize(
    ("name", "asked", "kinds"),
    [
        ("dinov2_registers", ("last_hidden_state", "pooler_output"), ("tokens", "embedding")),
        ("clip", ("last_hidden_state", "pooler_output", "image_embeds"), ("tokens", "embedding", "embedding")),
        ("siglip", ("last_hidden_state",), ("tokens",)),
        ("deit_teacher", ("distillation_logits", "cls_logits", "logits"), ("logits",) * 3),
        ("yolos", ("pred_boxes", "last_hidden_state"), ("boxes", "tokens")),
    ],
)
def test_outputs_are_chosen_by_the_librarys_names(
    tmp_path: Path, name: str, asked: tuple[str, ...], kinds: tuple[str, ...]
):
    kind = KINDS[name]
    own: Any = saved(kind, tmp_path)
    found = loaded(tmp_path, outputs=asked)
    assert (tuple(each.name for each in found.outputs), tuple(each.kind for each in found.outputs)) == (asked, kinds)
    x = torch.randn(2, 3, kind.size, kind.size, generator=torch.Generator().manual_seed(1))
    tower = own.vision_model if hasattr(own, "vision_model") else own
    with torch.no_grad():
        theirs = dict(tower(pixel_values=x))
        if name == "clip":
            theirs["image_embeds"] = own.visual_projection(theirs["pooler_output"])
    for wanted, ours in zip(asked, given(found.model, x), strict=True):
        torch.testing.assert_close(ours, theirs[wanted], rtol=1e-5, atol=1e-5)


def test_an_output_that_the_model_does_not_have(tmp_path: Path):
    saved(KINDS["dinov2"], tmp_path)
    with pytest.raises(MptqError, match="no such output; it has last_hidden_state, pooler_output"):
        loaded(tmp_path, outputs=("logits",))


def test_what_is_told(tmp_path: Path):
    saved(KINDS["clip"], tmp_path)
    found = loaded(tmp_path)
    assert found.arch == "CLIPVisionModelWithProjection"
    part, outputs = found.notes
    assert part == "of CLIPModel the part that sees pictures, CLIPVisionModelWithProjection; the text tower left out"
    assert outputs.endswith("--outputs chooses among image_embeds, pooler_output, last_hidden_state")
    assert found.preprocessing.resize_to == (32,)
    assert found.input_sources["mean"] == "preprocessor_config.json"


def test_a_pooler_without_weights_is_no_output(tmp_path: Path):
    kind = KINDS["vit_model"]

    def without(model: Any) -> None:
        model.pooler = None

    own: Any = saved(kind, tmp_path, change=without)
    found = loaded(tmp_path)
    assert [each.name for each in found.outputs] == ["last_hidden_state"]
    assert "the file has no weights of the pooler, so there is no pooler_output" in found.notes
    assert not any("pooler" in name for name in found.model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given(found.model, x)[0], own(pixel_values=x).last_hidden_state)


def test_names_of_the_library_are_no_names(tmp_path: Path):
    saved(KINDS["vit"], tmp_path, id2label={n: f"LABEL_{n}" for n in range(CLASSES)}, label2id={})
    assert loaded(tmp_path).class_names is None


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_scores_that_are_not_of_one_class_are_values(tmp_path: Path, problem: str):
    saved(KINDS["vit"], tmp_path, problem_type=problem)
    found = loaded(tmp_path)
    assert [(each.name, each.kind) for each in found.outputs] == [("logits", "values")]
    assert found.class_names is None


def test_shards(tmp_path: Path):
    own: Any = saved(KINDS["vit"], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    own.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    found = loaded(tmp_path)
    assert found.weights.startswith("model-00001-of-0000")
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given(found.model, x)[0], own(pixel_values=x).logits)


def test_weights_in_half_precision_are_float32(tmp_path: Path):
    own: Any = saved(KINDS["vit"], tmp_path, change=lambda model: model.to(torch.bfloat16))
    found = loaded(tmp_path)
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given(found.model, x)[0], own.float()(pixel_values=x).logits)


def test_a_pickle_is_read_with_trust_alone(tmp_path: Path):
    own: Any = saved(KINDS["vit"], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(own.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MptqError, match=r"pytorch_model\.bin is a pickle.* or pass --trust"):
        loaded(tmp_path)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given(loaded(tmp_path, trust=True).model, x)[0], own(pixel_values=x).logits)


def test_the_users_word_on_the_input_comes_first(tmp_path: Path):
    saved(KINDS["clip"], tmp_path)
    said = InputOptions(mean=(0.1,), interpolation="bilinear", crop_pct=0.9)
    found = loaded(tmp_path, inputs=said)
    how = found.preprocessing
    assert (how.mean, how.interpolation, how.crop_pct, how.resize_to) == ((0.1,) * 3, "bilinear", 0.9, None)
    assert (found.input_sources["mean"], found.input_sources["std"]) == ("--mean", "preprocessor_config.json")


def test_a_size_that_the_processor_leaves_open_is_the_users_with_a_warning(tmp_path: Path):
    saved(KINDS["yolos"], tmp_path)
    content = {"image_processor_type": "YolosImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(MptqError, match=r"YolosImageProcessor makes inputs whose size .* pass --img-size HxW"):
        loaded(tmp_path)
    found = loaded(tmp_path, inputs=InputOptions(img_size=(32, 32)))
    assert found.preprocessing.input_size == (3, 32, 32)
    (warning,) = found.warnings
    assert warning.startswith("all pictures are resized to 32x32, whatever their shape: YolosImageProcessor does other")


def test_without_a_processor_the_user_must_say_it(tmp_path: Path):
    saved(KINDS["vit"], tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(MptqError, match=r"has no preprocessor_config\.json: .* or pass --mean and --std$"):
        loaded(tmp_path)
    found = loaded(tmp_path, inputs=InputOptions(mean=(0.5,), std=(0.5,)))
    assert found.preprocessing.input_size == (3, 32, 32)
    assert "nothing in the folder confirms" in found.input_sources["interpolation"]


def test_the_library_is_left_as_it_was(tmp_path: Path):
    import huggingface_hub

    before = huggingface_hub.constants.HF_HUB_OFFLINE, library.utils.logging.get_verbosity()
    saved(KINDS["vit"], tmp_path)
    loaded(tmp_path)
    assert (huggingface_hub.constants.HF_HUB_OFFLINE, library.utils.logging.get_verbosity()) == before


def test_a_folder_that_the_hub_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own: Any = saved(KINDS["vit"], tmp_path)
    monkeypatch.setattr(loaders, "fetched", lambda _: tmp_path)
    found = load_asked(ModelRequest("hf-hub:somebody/vit"))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(given(found.model, x)[0], own(pixel_values=x).logits)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(MptqError, match="is a pickle, and only safetensors are read"):
        load_asked(ModelRequest("hf-hub:somebody/vit"))
