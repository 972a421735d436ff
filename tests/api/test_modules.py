"""Modules of one's own through the verbs: several named outputs of one file, each exact."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from own_modules import SIZE, Four, Odd, Scores, Twice, made
from remembered import Memory
from tiny_models import KINDS as TIMM

from mptq_export import allocate, calibrate, export, load, verify
from mptq_export.api import Calibrated, MptqError
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.outputs import OUTPUTS_KEY, outputs_of
from mptq_export.recipe.store import read_recipe
from mptq_export.verify.onnx_file import load_onnx, metadata_of

KINDS = {
    "logits": "logits",
    "pred_boxes": "values",
    "last_hidden_state": "tokens",
    "pooler_output": "embedding",
}


def own(kind: Any = Four, **options: Any) -> LoadedModel:
    return load(made(kind), input_size=SIZE, mean=0.5, std=0.5, **options)


@pytest.fixture(scope="module")
def four() -> Calibrated:
    """The module with four outputs, calibrated."""
    return calibrate(own(), count=8)


@pytest.mark.parametrize(("bits", "error"), [((8, 8), 0.1), ((4, 4), 0.8)])
def test_four_outputs_are_exact_and_the_modules_own(
    tmp_path: Path, four: Calibrated, bits: tuple[int, int], error: float
):
    out = tmp_path / "m.onnx"
    result = export(four, out, bits=bits, method="paper", kit=tmp_path / "kit", float_onnx=tmp_path / "f.onnx")
    assert (result.verification.differing, set(result.verification.batches)) == (0, {1, 3})
    report = verify(out)
    assert report.passed
    assert set(report.batches) == {1, 3}
    assert list(report.outputs) == list(KINDS)
    metadata = metadata_of(load_onnx(out))
    assert {each.name: each.kind for each in outputs_of(metadata)} == KINDS
    assert json.loads(metadata[OUTPUTS_KEY])[1] == {"output": "pred_boxes", "kind": "values"}
    recipe = read_recipe(tmp_path / "m.recipe.json")
    assert {each.name: each.kind for each in recipe.settings.outputs} == KINDS
    assert recipe.model.library == "module"
    manifest = json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["outputs"]] == list(KINDS)
    x = four.images[:3].numpy()
    with torch.no_grad():
        exact = made(Four)(four.images[:3])
    for path, most in ((out, error), (tmp_path / "f.onnx", 1e-4)):
        session = onnxruntime.InferenceSession(path)
        for name, got in zip(KINDS, session.run(list(KINDS), {"input": x}), strict=True):
            wanted = getattr(exact, name).numpy()
            assert got.shape == wanted.shape
            assert np.linalg.norm(got - wanted) < most * np.linalg.norm(wanted)


def test_the_report_agrees_by_the_logits_wherever_they_stand(tmp_path: Path, memory: Memory):
    loaded = own(outputs=["pooler_output", "logits"])
    out = tmp_path / "m.onnx"
    result = export(calibrate(loaded, count=8), out, method="paper")
    evidence = json.loads((tmp_path / "m.report.json").read_text())
    assert evidence["agreement"]["images"] == 64
    assert evidence["agreement"]["mean_kl"] < 0.01
    assert "--outputs pooler_output,logits" in result.command
    memory.forget()
    again = export(own(), tmp_path / "n.onnx", recipe=tmp_path / "m.recipe.json")  # the recipe knows what was chosen
    assert [each.name for each in again.loaded.outputs] == ["pooler_output", "logits"]
    assert (tmp_path / "n.onnx").read_bytes() == out.read_bytes()


def test_a_recipe_knows_the_kind_that_was_said(tmp_path: Path, memory: Memory):
    export(calibrate(own(Scores, output="logits"), count=4), tmp_path / "m.onnx", method="paper")
    memory.forget()
    export(own(Scores), tmp_path / "n.onnx", recipe=tmp_path / "m.recipe.json")
    assert (tmp_path / "n.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    with pytest.raises(MptqError, match="recipe of another model: its architecture is Scores, the checkpoint's Four"):
        export(own(), tmp_path / "o.onnx", recipe=tmp_path / "m.recipe.json")


def test_one_tensor_under_two_names_and_the_images_themselves(tmp_path: Path):
    out = tmp_path / "m.onnx"
    calibrated = calibrate(own(Twice), count=4)
    export(calibrated, out, method="paper")
    assert verify(out).passed
    x = calibrated.images[:3].numpy()
    first, second, image = onnxruntime.InferenceSession(out).run(["embedding", "features", "image"], {"input": x})
    assert np.array_equal(first, second)
    assert np.array_equal(image, x)


def test_outputs_of_any_axes_and_none_that_is_a_constant(tmp_path: Path):
    with pytest.raises(MptqError, match="the output position does not depend on the images; leave it out"):
        calibrate(own(Odd), count=4)
    names = ["feature_map", "age", "cells", "masks"]
    loaded = own(Odd, outputs=names)
    assert [each.kind for each in loaded.outputs] == ["map", "values", "values", "values"]
    calibrated = calibrate(loaded, count=4)
    export(calibrated, tmp_path / "m.onnx", method="paper")
    assert verify(tmp_path / "m.onnx").passed
    with torch.no_grad():
        exact = made(Odd)(calibrated.images[:3])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for name, got in zip(names, session.run(names, {"input": calibrated.images[:3].numpy()}), strict=True):
        assert got.shape == exact[name].shape
        assert np.linalg.norm(got - exact[name].numpy()) < 0.1 * np.linalg.norm(exact[name])


def test_a_search_goes_by_all_outputs(tmp_path: Path, four: Calibrated):
    (found,) = allocate(four, "3", widths=(2, 4), method="paper")
    assert 0 < found.front[0].divergence < found.front[-1].divergence
    export(found, tmp_path / "m.onnx")
    assert verify(tmp_path / "m.onnx").passed


def test_class_names_belong_to_logits(tmp_path: Path):
    calibrated = calibrate(own(class_names=list("abcde")), count=4)
    assert calibrated.classes.named is not None
    assert calibrated.classes.named.names == tuple("abcde")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(MptqError, match="names classes, and pooler_output have none"):
        calibrate(own(outputs=["pooler_output"]), count=4, class_map=tmp_path / "classes.txt")
    with pytest.raises(MptqError, match="class_names belong to a module"):
        load("timm:vit", class_names=["a"])


def test_an_output_that_is_not_of_its_kind():
    with pytest.raises(MptqError, match="the output pred_boxes is B x 16 x 4, and embedding have 2 axes"):
        calibrate(own(output={"pred_boxes": "embedding"}), count=4)


def test_a_timm_model_without_its_head_gives_an_embedding(tmp_path: Path, memory: Memory):
    name, kwargs = TIMM["vit"]
    torch.manual_seed(0)
    state = timm.create_model(name, **{**kwargs, "num_classes": 0}).state_dict()
    torch.save({"arch": name, "model_kwargs": {**kwargs, "num_classes": 0}, "state_dict": state}, tmp_path / "m.pt")
    loaded = load(tmp_path / "m.pt")
    export(calibrate(loaded, count=4), tmp_path / "m.onnx", method="paper")
    assert [(each.name, each.kind) for each in loaded.outputs] == [("embedding", "embedding")]
    assert [entry.name for entry in load_onnx(tmp_path / "m.onnx").graph.output] == ["embedding"]
    memory.forget()
    export(loaded, tmp_path / "n.onnx", recipe=tmp_path / "m.recipe.json")
    assert (tmp_path / "n.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
