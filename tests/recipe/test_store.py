"""Recipes on disk: what is written is read back; what is damaged is refused."""

import json
from copy import deepcopy
from dataclasses import MISSING, asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import quantized, recipe

from mptq_export.emit.exact.emitter import emit
from mptq_export.recipe.schema import VERSION, ActivationQuant, Claim, ExportRecipe, Region, WeightRegions
from mptq_export.recipe.settings import ModelIdentity, NamedClasses, SearchFacts, Settings
from mptq_export.recipe.store import layer_bits, read_recipe, read_settings, recipe_paths, recipe_writers, to_json
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together

QKV = "blocks.0.attn.qkv"


@cache
def _made() -> ExportRecipe:
    """With all techniques, and different widths in different layers."""
    return quantized("vit", lambda layer: (3, 5) if layer.endswith("fc2") else (4, 8))[1]


@pytest.fixture
def made() -> ExportRecipe:
    result = deepcopy(_made())
    result.proof = [Claim("blocks.0.attn.qkv", "int32 accumulator", 12345.0, 2.0**31 - 1, "at most")]
    return result


@pytest.fixture
def written(made: ExportRecipe, tmp_path: Path) -> Path:
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    return tmp_path / "m.recipe.json"


def refusal(path: Path) -> str:
    with pytest.raises(MptqError) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_files_lie_beside_the_model():
    assert recipe_paths(Path("a/m.mptq.onnx")) == (Path("a/m.mptq.recipe.json"), Path("a/m.mptq.recipe.safetensors"))


def test_a_claim_without_its_relation_is_refused(made: ExportRecipe, written: Path):
    content = json.loads(written.read_text())
    for relation in ("about", None, 3):
        content["proof"][0]["relation"] = relation
        written.write_text(json.dumps(content))
        assert "proof.relation is" in refusal(written)
    del content["proof"][0]["relation"]
    written.write_text(json.dumps(content))
    assert "proof lacks relation" in refusal(written)


@pytest.mark.parametrize("section", [ModelIdentity, Settings])
def test_a_setting_that_is_missing_is_named(written: Path, section: type):
    name = "model" if section is ModelIdentity else "settings"
    content = json.loads(written.read_text())
    assert content[name].keys() == {field.name for field in fields(section)}
    for field in fields(section):
        if field.default is not MISSING:  # what recipes of older versions lack
            continue
        others = {key: value for key, value in content[name].items() if key != field.name}
        written.write_text(json.dumps({**content, name: others}))
        assert f"{name} lacks {field.name}" in refusal(written)


def test_settings_come_back(made: ExportRecipe, tmp_path: Path):
    made.settings = replace(
        made.settings,
        pins={"head": "8/8"},
        target="qnn",
        features=(0, 2),
        classes=NamedClasses(("cat", "dog"), "class map"),
        search=SearchFacts(
            budget="4",
            range=(2, 6),
            tied=True,
            solver="greedy",
            mean_bits=(2.5, 3.75),
            divergence={"greedy": 0.5, "integer programme": None},
            evaluations=9,
            widths={"a": "2/3"},
            estimated_divergence_alone={"a:both": 0.1},
        ),
        versions={"torch": "2"},
    )
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    assert read_recipe(tmp_path / "m.recipe.json").settings == made.settings
    assert read_settings(tmp_path / "m.recipe.json") == made.settings


def test_what_is_read_is_what_was_written(made: ExportRecipe, written: Path):
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
        assert back.bias.dtype == np.float32
        assert back.bias.tobytes() == quant.bias.tobytes()
    assert made.sq_b
    assert got.sq_b.keys() == made.sq_b.keys()
    for name, entry in made.sq_b.items():
        again = got.sq_b[name]
        assert (again.strength, again.reason) == (entry.strength, entry.reason)
        assert again.shift.dtype == again.scale.dtype == np.float64
        assert again.shift.tobytes() == entry.shift.tobytes()
        assert again.scale.tobytes() == entry.scale.tobytes()
    assert sorted(path.name for path in written.parent.iterdir()) == ["m.recipe.json", "m.recipe.safetensors"]


def test_regions_come_back(made: ExportRecipe, tmp_path: Path):
    levels = ActivationQuant(0.1, 4, 0, 124, 4, "OPT-m", (Region(1, 4), Region(3, 20), Region(3, 124)))
    made.activations["blocks.0.mlp.fc2.input"] = replace(levels, bits=5)
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    content = json.loads((tmp_path / "m.recipe.json").read_text())
    assert content["activations"]["blocks.0.mlp.fc2.input"]["regions"] == [
        {"shift": 1, "last": 4},
        {"shift": 3, "last": 20},
        {"shift": 3, "last": 124},
    ]
    assert read_recipe(tmp_path / "m.recipe.json").activations == made.activations


@pytest.fixture
def with_weight_regions(made: ExportRecipe, tmp_path: Path) -> Path:
    """The recipe with regions in one layer of 4 bits, an outlier among its codes."""
    made.weights = {name: replace(quant, regions=None) for name, quant in made.weights.items()}
    quant = made.weights[QKV]
    regions = WeightRegions((*range(-15, 16, 2),), 5)
    codes = quant.codes.clip(-15, 14) // 2 * 2 + np.int8(1)
    codes[3, 4] = 47
    made.weights[QKV] = replace(quant, codes=codes, regions=regions)
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    return tmp_path / "m.recipe.json"


def test_regions_of_weights_come_back(made: ExportRecipe, with_weight_regions: Path):
    content = json.loads(with_weight_regions.read_text())
    assert content["regions"] == {QKV: {"levels": [*range(-15, 16, 2)], "shift": 5}}
    back = read_recipe(with_weight_regions)
    assert back.weights[QKV].regions == made.weights[QKV].regions
    assert np.array_equal(back.weights[QKV].codes, made.weights[QKV].codes)
    assert back.weights["head"].regions is None
    assert to_json(back) == to_json(made)


@pytest.mark.parametrize(
    "regions",
    [
        {"levels": [*range(-15, 16, 2)], "shift": 4},
        {"levels": [*range(-8, 8)], "shift": 5},
        {"levels": [-1, 1], "shift": 5},
        {"levels": [1] * 16, "shift": 5},
        {"levels": [*range(-15, 14, 2), 99], "shift": 5},
        {"levels": [*range(-15, 16, 2)], "shift": 7},
        None,
    ],
)
def test_regions_edited_by_hand_are_refused(with_weight_regions: Path, regions: dict[str, Any] | None):
    content = json.loads(with_weight_regions.read_text())
    content["regions"] = {} if regions is None else {QKV: regions}
    with_weight_regions.write_text(json.dumps(content))
    assert f"codes of {QKV} are not those of its sha256" in refusal(with_weight_regions)


@pytest.mark.parametrize("levels", [(-1, 1), (1,) * 16, (*range(-15, 14, 2), 99), tuple(range(-8, 8))])
def test_codes_that_are_none_of_their_levels_are_refused(
    made: ExportRecipe, with_weight_regions: Path, levels: tuple[int, ...]
):
    made.weights[QKV] = replace(made.weights[QKV], regions=WeightRegions(levels))
    write_together(recipe_writers(made, with_weight_regions.parent / "m.onnx"))
    assert f"the regions of {QKV} cannot be" in refusal(with_weight_regions)


def test_regions_of_weights_are_of_the_exact_form_and_of_a_layer_that_there_is(with_weight_regions: Path):
    content = json.loads(with_weight_regions.read_text())
    text = json.dumps(content)
    content["settings"]["form"] = "portable"
    with_weight_regions.write_text(json.dumps(content))
    assert f"regions.{QKV} cannot be" in refusal(with_weight_regions)
    content = json.loads(text)
    content["regions"]["nowhere"] = content["regions"][QKV]
    with_weight_regions.write_text(json.dumps(content))
    assert "regions.nowhere cannot be" in refusal(with_weight_regions)


def test_rotations_come_back_and_those_of_another_recipe_are_refused(made: ExportRecipe, tmp_path: Path):
    made.rotations["blocks.0.norm1"] = np.eye(4)[::-1].copy()
    write_together(recipe_writers(made, tmp_path / "m.onnx"))
    back = read_recipe(tmp_path / "m.recipe.json").rotations
    assert back.keys() == {"blocks.0.norm1"}
    np.testing.assert_array_equal(back["blocks.0.norm1"], made.rotations["blocks.0.norm1"])
    tensors = {name: value.copy() for name, value in load_file(tmp_path / "m.recipe.safetensors").items()}
    tensors["blocks.0.norm1.rotation"][1, 1] = 0.5
    save_file(tensors, tmp_path / "m.recipe.safetensors")
    assert "the rotation of blocks.0.norm1 is not that of its sha256" in refusal(tmp_path / "m.recipe.json")


def test_a_recipe_that_was_read_emits_the_same_bytes(tmp_path: Path):
    graph, first = quantized("vit", (4, 8))
    model = emit(graph, first, input_type="uint8", producer="1")
    write_together(recipe_writers(first, tmp_path / "m.onnx"))
    back = read_recipe(tmp_path / "m.recipe.json")
    assert to_json(first) == to_json(back)
    again = emit(graph, back, input_type="uint8", producer="1")
    assert again.SerializeToString() == model.SerializeToString()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_together(recipe_writers(recipe("swin"), tmp_path / name / "m.onnx"))
        files.append([path.read_bytes() for path in recipe_paths(tmp_path / name / "m.onnx")])
    assert files[0] == files[1]


def test_the_json_is_for_people_and_holds_no_codes(made: ExportRecipe, written: Path):
    text = written.read_text()
    content = json.loads(text)
    assert content["recipe_version"] == VERSION
    qkv = content["weights"][QKV]
    assert (qkv["bits"], qkv["form"], qkv["shape"]) == (4, "narrow", [96, 32])
    assert qkv.keys() == {"bits", "form", "shape", "reason", "sha256"}
    assert content["activations"]["head.input"] == {**asdict(made.activations["head.input"]), "regions": []}
    assert content["smoothing"]["blocks.0.norm1"].keys() == {"strength", "reason", "sha256"}
    assert f'  "{QKV}": "4/8",\n' in text  # a line for every layer
    assert max(map(len, text.splitlines())) < 400


def test_the_bits_of_every_layer_stand_in_one_table(made: ExportRecipe, written: Path):
    table = json.loads(written.read_text())["bits"]
    assert table == layer_bits(made)
    assert (table[QKV], table["blocks.1.mlp.fc2"], table["patch_embed.proj"]) == ("4/8", "3/5", "4/8")
    assert {layer for layer, bits in table.items() if not bits.startswith("-/")} == made.weights.keys()


def test_an_existing_recipe_is_replaced_as_a_whole(made: ExportRecipe, written: Path):
    made.exponents = {"x": 3}
    write_together(recipe_writers(made, written.parent / "m.onnx"))
    assert read_recipe(written).exponents == {"x": 3}


def test_a_missing_file_is_refused(written: Path):
    tensors = written.with_suffix(".safetensors")
    tensors.unlink()
    message = refusal(written)
    assert f"{tensors} does not exist" in message
    assert "export again" in message
    written.unlink()
    assert f"cannot read the recipe {written}" in refusal(written)


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, 0.99])
@pytest.mark.parametrize("name", ["m.recipe.json", "m.recipe.safetensors"])
def test_a_truncated_file_is_refused(written: Path, name: str, keep: float):
    path = written.parent / name
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    assert "export again" in refusal(written)


@pytest.mark.parametrize("version", [0, 1, VERSION + 1, None, "2"])
def test_another_version_is_refused(written: Path, version: object):
    content = json.loads(written.read_text())
    content["recipe_version"] = version
    written.write_text(json.dumps(content))
    assert f"recipe version {version}, but this program reads {VERSION}; export again" in refusal(written)


@pytest.mark.parametrize("part", ["codes", "scale", "bias"])
def test_tensors_of_another_recipe_are_refused_by_layer(written: Path, part: str):
    path = written.with_suffix(".safetensors")
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    tensors[f"blocks.1.mlp.fc2.{part}"].flat[7] += 1
    save_file(tensors, path)
    assert "codes of blocks.1.mlp.fc2 are not those" in refusal(written)


@pytest.mark.parametrize("part", ["shift", "scale"])
def test_smoothing_of_another_recipe_is_refused_by_layer(written: Path, part: str):
    path = written.with_suffix(".safetensors")
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    value = tensors[f"blocks.1.norm2.smoothing.{part}"]
    value[3] = np.nextafter(value[3], np.inf)
    save_file(tensors, path)
    assert "the smoothing of blocks.1.norm2 is not that of its sha256" in refusal(written)


@pytest.mark.parametrize(
    ("section", "entry", "field", "value", "named"),
    [
        ("weights", QKV, "bits", 6, QKV),
        ("weights", QKV, "form", "pair_safe", QKV),
        ("activations", f"{QKV}.input", "bits", 4, QKV),
        ("bits", QKV, None, "6/8", QKV),
        ("smoothing", "blocks.0.norm1", "strength", 2.5, "blocks.0.norm1"),
    ],
)
def test_edited_bits_need_a_new_export(
    written: Path, section: str, entry: str, field: str | None, value: object, named: str
):
    content = json.loads(written.read_text())
    target = content[section] if field is None else content[section][entry]
    target[field or entry] = value
    written.write_text(json.dumps(content))
    message = refusal(written)
    assert named in message
    assert "export again" in message


@pytest.mark.parametrize(
    "changes", [{"scale": 0.0}, {"scale": -1.0}, {"scale": "x"}, {"zero_point": 300}, {"low": 1.5}, {"regions": [[1]]}]
)
def test_numbers_that_no_quantizer_has_are_refused(written: Path, changes: dict[str, Any]):
    content = json.loads(written.read_text())
    content["activations"][f"{QKV}.input"].update(changes)
    written.write_text(json.dumps(content))
    assert "is not a recipe of this program" in refusal(written)


@pytest.mark.parametrize(
    "text",
    ["[]", "3", "null", "{}", "not json", '{"recipe_version": 3}', '{"recipe_version": 3, "weights": 3}', "\xff"],
)
def test_what_is_no_recipe_is_refused(written: Path, text: str):
    written.write_text(text, encoding="latin-1")
    assert str(written) in refusal(written)


@pytest.mark.parametrize("section", ["activations", "proof", "weights", "smoothing"])
def test_an_entry_with_other_fields_is_refused(written: Path, section: str):
    content = json.loads(written.read_text())
    entries = content[section]
    entry = entries[0] if section == "proof" else next(iter(entries.values()))
    entry.pop("sha256" if section in ("weights", "smoothing") else next(iter(entry)))
    written.write_text(json.dumps(content))
    assert "is not a recipe of this program" in refusal(written)
