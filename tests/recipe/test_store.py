"""Recipes on disk: what is written is read back; what is damaged is refused."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import prepared, recipe

from mptq_export.emit.emitter import emit
from mptq_export.errors import MptqError
from mptq_export.files import write_together
from mptq_export.recipe.schema import VERSION, Claim, Recipe
from mptq_export.recipe.store import read_recipe, recipe_paths, recipe_writers, to_json


@pytest.fixture
def made() -> Recipe:
    result = recipe("vit", (4, 8))
    result.proof = [Claim("blocks.0.attn.qkv", "int32 accumulator", 12345.0, 2.0**31 - 1)]
    return result


@pytest.fixture
def written(made: Recipe, tmp_path: Path) -> Path:
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    return tmp_path / "m.recipe.json"


def refusal(path: Path) -> str:
    with pytest.raises(MptqError) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_files_lie_beside_the_model():
    assert recipe_paths(Path("a/m.mptq.onnx")) == (Path("a/m.mptq.recipe.json"), Path("a/m.mptq.recipe.safetensors"))


def test_what_is_read_is_what_was_written(made: Recipe, written: Path):
    got = read_recipe(written)
    assert (got.model, got.settings, got.exponents) == (made.model, made.settings, made.exponents)
    assert got.activations == made.activations
    assert got.proof == made.proof
    assert got.weights.keys() == made.weights.keys()
    for name, quant in made.weights.items():
        back = got.weights[name]
        assert (back.bits, back.form, back.reason) == (quant.bits, quant.form, quant.reason)
        assert back.codes.dtype == np.int8
        assert back.scale.dtype == np.float32
        assert np.array_equal(back.codes, quant.codes)
        assert np.array_equal(back.scale, quant.scale)
    assert sorted(path.name for path in written.parent.iterdir()) == ["m.recipe.json", "m.recipe.safetensors"]


def test_a_recipe_that_was_read_emits_the_same_bytes(made: Recipe, written: Path):
    back = read_recipe(written)
    models = [emit(prepared("vit"), r, input_type="uint8", metadata={}, producer="1") for r in (made, back)]
    assert models[0].SerializeToString() == models[1].SerializeToString()
    assert to_json(made) == to_json(back)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_together(recipe_writers(recipe("swin"), tmp_path / name / "m.onnx"))
        files.append([path.read_bytes() for path in recipe_paths(tmp_path / name / "m.onnx")])
    assert files[0] == files[1]


def test_the_json_is_for_people_and_holds_no_codes(made: Recipe, written: Path):
    content = json.loads(written.read_text())
    assert content["recipe_version"] == VERSION
    qkv = content["weights"]["blocks.0.attn.qkv"]
    assert (qkv["bits"], qkv["form"], qkv["shape"]) == (4, "narrow", [96, 32])
    assert content["activations"]["head.input"] == asdict(made.activations["head.input"])
    assert "codes" not in qkv


def test_an_existing_recipe_is_replaced_as_a_whole(made: Recipe, written: Path):
    made.exponents = {"x": 3}
    write_together(recipe_writers(made, written.parent / "m.onnx"))
    assert read_recipe(written).exponents == {"x": 3}


@pytest.mark.parametrize("name", ["m.recipe.json", "m.recipe.safetensors"])
def test_a_missing_file_is_refused(written: Path, name: str):
    (written.parent / name).unlink()
    assert name.rsplit(".", maxsplit=1)[-1] in refusal(written) or "recipe" in refusal(written)


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, 0.99])
@pytest.mark.parametrize("name", ["m.recipe.json", "m.recipe.safetensors"])
def test_a_truncated_file_is_refused(written: Path, name: str, keep: float):
    path = written.parent / name
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    assert "export again" in refusal(written)


@pytest.mark.parametrize("version", [0, VERSION + 1, None, "1"])
def test_another_version_is_refused(written: Path, version: object):
    content = json.loads(written.read_text())
    content["recipe_version"] = version
    written.write_text(json.dumps(content))
    assert f"recipe version {version}, but this program reads {VERSION}" in refusal(written)


@pytest.mark.parametrize("part", ["codes", "scale"])
def test_tensors_of_another_recipe_are_refused_by_layer(written: Path, part: str):
    path = written.with_suffix(".safetensors")
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    tensors[f"blocks.1.mlp.fc2.{part}"].flat[7] += 1
    save_file(tensors, path)
    assert "the codes of blocks.1.mlp.fc2 are not those" in refusal(written)


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "null", "{}", "not json", '{"recipe_version": 1}', '{"recipe_version": 1, "weights": 3}', "\xff"],
)
def test_what_is_no_recipe_is_refused(written: Path, text: str):
    written.write_text(text, encoding="latin-1")
    assert str(written) in refusal(written)


@pytest.mark.parametrize("section", ["activations", "proof", "weights"])
def test_an_entry_with_other_fields_is_refused(written: Path, section: str):
    content = json.loads(written.read_text())
    entries = content[section]
    entry = entries[0] if section == "proof" else next(iter(entries.values()))
    entry.pop("sha256" if section == "weights" else next(iter(entry)))
    written.write_text(json.dumps(content))
    assert "is not a recipe of this program" in refusal(written)
