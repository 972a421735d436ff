"""The checker is checked: whatever is changed in a file, `mptq-verify` finds it, and with the recipe it names it.

Most changes leave a file that onnxruntime and kernels_ref still agree on, so that only its origin can show them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from tiny_models import quantized

from mptq_export.cli.verify import main
from mptq_export.emit.exact.emitter import emit
from mptq_export.export.write import tie
from mptq_export.quantize.method import BEST
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, RECIPE_KEY, contents_digest, contents_of
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.store import recipe_writers
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together
from mptq_export.verify.origin import check_contents, check_recipe

KINDS = ("vit", "swin")
ROLES = {"DequantizeLinear": {1: "scale", 2: "zero point"}, "QuantizeLinear": {1: "scale", 2: "zero point"}}
#: A test that changes files under one folder, example after example.
SAME_FOLDER = [HealthCheck.function_scoped_fixture]


def widths(layer: str) -> tuple[int, int]:
    """Codes of 2, 4, 7 and 8 bits: packed in fields, INT4, int8, or levels; activations of 5, 6 and 8 bits."""
    ends = {"fc1": (2, 8), "qkv": (4, 6), "fc2": (7, 5)}
    return ends.get(layer.rsplit(".", 1)[-1], (8, 8))


@cache
def exported(kind: str) -> bytes:
    """A finished model, tied to its recipe."""
    return _export(kind)[0].SerializeToString()


@cache
def _export(kind: str) -> tuple[onnx.ModelProto, Recipe]:
    graph, recipe = quantized(kind, widths, replace(BEST, weight_regions=4 * (kind == "swin")))
    model = emit(graph, recipe, input_type="float32", producer="1")
    onnx.helper.set_model_props(model, {"a": "b"})
    tie(model, recipe)
    return model, recipe


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind of a model, and its recipe on disk."""
    folder = tmp_path_factory.mktemp(request.param)
    write_together(recipe_writers(_export(request.param)[1], folder / "m.onnx"))
    return request.param, folder / "m.recipe.json"


def fresh(kind: str) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(exported(kind))


def flip(tensor: onnx.TensorProto, bit: int) -> None:
    """Flip one bit of a tensor."""
    data = bytearray(tensor.raw_data)
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    tensor.raw_data = bytes(data)


def roles(model: onnx.ModelProto) -> dict[str, str]:
    """What every initializer is: weight, bias, scale, zero point, or a table of constants."""
    found = {tensor.name: "table" for tensor in model.graph.initializer}
    for node in model.graph.node:
        for position, role in ROLES.get(node.op_type, {}).items():
            found[node.input[position]] = role
        if node.op_type == "Clip":
            found |= dict.fromkeys(node.input[1:], "width")
    for name in found:
        for role in ("weight", "bias"):
            if name.endswith(f".{role}") or f".{role}.int4" in name or f".{role}.bits" in name:
                found[name] = role
    return found


def test_an_untouched_file_is_as_written(written: tuple[str, Path]):
    kind, recipe = written
    origin = check_recipe(fresh(kind), recipe)
    assert origin.problems == ()
    assert origin.weights == sum(node.op_type == "Gemm" for node in fresh(kind).graph.node)
    own = check_contents(fresh(kind))
    assert own is not None and own.problems == () and own.parts == origin.parts


def test_the_models_hold_everything_that_is_changed_here(written: tuple[str, Path]):
    kind, _ = written
    model = fresh(kind)
    assert {*roles(model).values()} >= {"weight", "bias", "scale", "zero point", "table", "width"}
    narrowest = TensorProto.UINT8 if kind == "swin" else TensorProto.INT4  # levels are looked up by bytes
    assert {tensor.data_type for tensor in model.graph.initializer} >= {narrowest, TensorProto.INT8}


def test_a_flipped_bit_is_found_in_every_tensor(written: tuple[str, Path]):
    kind, recipe = written
    count = len(fresh(kind).graph.initializer)
    for i in range(count):
        model = fresh(kind)
        tensor = model.graph.initializer[i]
        flip(tensor, 8 * len(tensor.raw_data) // 2)
        own = check_contents(model)
        assert own is not None and own.problems, tensor.name
        if i % 7 == 0:
            assert check_recipe(model, recipe).problems[0] == f"tensor {tensor.name} differs"


@settings(max_examples=60, deadline=None, suppress_health_check=SAME_FOLDER)
@given(data=st.data())
def test_any_changed_number_is_named(written: tuple[str, Path], data: st.DataObject):
    """A weight code, a bias, a scale, a zero point, an entry of a table, the end of a range, in any layer."""
    kind, recipe = written
    model = fresh(kind)
    role = data.draw(st.sampled_from(["weight", "bias", "scale", "zero point", "table", "width"]))
    names = sorted(name for name, found in roles(model).items() if found == role)
    name = data.draw(st.sampled_from(names))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    flip(tensor, data.draw(st.integers(0, 8 * len(tensor.raw_data) - 1)))
    problems = check_recipe(model, recipe).problems
    assert problems[0] == f"tensor {name} differs"
    own = check_contents(model)
    assert own is not None and own.problems


@settings(max_examples=60, deadline=None, suppress_health_check=SAME_FOLDER)
@given(data=st.data())
def test_any_changed_node_is_named(written: tuple[str, Path], data: st.DataObject):
    kind, recipe = written
    model = fresh(kind)
    nodes = model.graph.node
    node = nodes[data.draw(st.integers(0, len(nodes) - 1))]
    change = data.draw(st.sampled_from(["input", "op", "attribute", "removed"]))
    name = node.output[0]
    if change == "input":
        others = [tensor.name for tensor in model.graph.initializer if tensor.name != node.input[-1]]
        node.input[len(node.input) - 1] = data.draw(st.sampled_from(others))
    elif change == "op":
        node.op_type = "Abs" if node.op_type == "Neg" else "Neg"
    elif change == "attribute":
        node.attribute.append(onnx.helper.make_attribute("axis", 7))
    else:
        nodes.remove(node)
    problems = check_recipe(model, recipe).problems
    assert problems[0] == f"node {name} {'is missing' if change == 'removed' else 'differs'}"


def _wider(model: onnx.ModelProto) -> str:
    """INT4 codes, or bytes where there are none, as int8 with the same values: another width."""
    order = (TensorProto.INT4, TensorProto.UINT8)
    tensor = min((t for t in model.graph.initializer if t.data_type in order), key=lambda t: order.index(t.data_type))
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int8), name))
    return f"tensor {name} differs"


def _opset(model: onnx.ModelProto) -> str:
    model.opset_import[0].version += 1
    return "the graph's inputs, outputs, types or opset differ"


def _shape(model: onnx.ModelProto) -> str:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1
    return "the graph's inputs, outputs, types or opset differ"


def _metadata(model: onnx.ModelProto) -> str:
    next(entry for entry in model.metadata_props if entry.key == "a").value = "c"
    return "metadata a differs"


def _added(model: onnx.ModelProto) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "extra"))
    return "tensor extra is not in the recipe"


def _twice(model: onnx.ModelProto) -> str:
    model.graph.initializer.append(model.graph.initializer[0])
    return f"tensor {model.graph.initializer[0].name} again is not in the recipe"


def _other_recipe(model: onnx.ModelProto) -> str:
    next(entry for entry in model.metadata_props if entry.key == RECIPE_KEY).value = "0" * 64
    return f"its metadata names the recipe {'0' * 64}"


def _no_recipe(model: onnx.ModelProto) -> str:
    kept = [entry for entry in model.metadata_props if entry.key != RECIPE_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return "its metadata names the recipe nothing"


def _no_hash(model: onnx.ModelProto) -> str:
    kept = [entry for entry in model.metadata_props if entry.key != CONTENTS_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return f"its metadata's {CONTENTS_KEY} is not the hash"


CHANGES = [_wider, _opset, _shape, _metadata, _added, _twice, _other_recipe, _no_recipe, _no_hash]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_other_changes(written: tuple[str, Path], change: Callable[[onnx.ModelProto], str]):
    kind, recipe = written
    model = fresh(kind)
    expected = change(model)
    assert check_recipe(model, recipe).problems[0].startswith(expected)


def sign_again(model: onnx.ModelProto) -> None:
    """Give a changed model the right hash of its contents, as someone would who wants to hide the change."""
    entry = next(entry for entry in model.metadata_props if entry.key == CONTENTS_KEY)
    entry.value = contents_digest(contents_of(model))


@pytest.mark.parametrize("layer", ["blocks.0.attn.qkv", "blocks.1.mlp.fc1", "blocks.1.mlp.fc2", "head"])
def test_weights_that_recipe_and_file_both_list_are_still_not_its_codes(tmp_path: Path, layer: str):
    """File, its hash and the recipe's list are all changed to agree: the recipe's codes do not."""
    graph, recipe = quantized("vit", widths)
    model = emit(graph, recipe, input_type="float32", producer="1")
    tensor = next(t for t in model.graph.initializer if t.name.startswith(f"{layer}.weight"))
    flip(tensor, 100)
    tie(model, recipe)
    write_together(recipe_writers(recipe, tmp_path / "m.onnx"))
    origin = check_recipe(model, tmp_path / "m.recipe.json")
    assert origin.problems == (f"the weight codes of {layer} are not the recipe's",)


def test_a_signed_change_is_found_by_the_recipe_alone(written: tuple[str, Path]):
    kind, recipe = written
    model = fresh(kind)
    flip(model.graph.initializer[0], 0)
    sign_again(model)
    own = check_contents(model)
    assert own is not None and own.problems == ()
    assert check_recipe(model, recipe).problems[0] == f"tensor {model.graph.initializer[0].name} differs"


@settings(max_examples=60, deadline=None, suppress_health_check=SAME_FOLDER)
@given(data=st.data())
def test_any_changed_byte_of_a_recipe_is_found(written: tuple[str, Path], tmp_path: Path, data: st.DataObject):
    kind, recipe = written
    parts = [recipe, recipe.with_suffix(".safetensors")]
    chosen = data.draw(st.sampled_from([0, 1]))
    content = [bytearray(part.read_bytes()) for part in parts]
    position = data.draw(st.integers(0, len(content[chosen]) - 1))
    content[chosen][position] ^= 1 << data.draw(st.integers(0, 7))
    for part, changed in zip(parts, content, strict=True):
        (tmp_path / part.name).write_bytes(changed)
    try:
        origin = check_recipe(fresh(kind), tmp_path / recipe.name)
    except MptqError as error:
        assert "\n" not in str(error)
    else:
        assert origin.problems


# -- from the command line ---------------------------------------------------------------------------------------------


def changed_models(kind: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """A change of every kind, in the first layer that has it."""
    found = roles(fresh(kind))
    for role in ("weight", "bias", "scale", "zero point", "table", "width"):
        model = fresh(kind)
        tensor = next(t for t in model.graph.initializer if found[t.name] == role)
        flip(tensor, 1)
        yield tensor.name, model


def test_the_command_names_what_differs(written: tuple[str, Path], tmp_path: Path):
    kind, recipe = written
    for name, model in changed_models(kind):
        onnx.save(model, tmp_path / "m.onnx")
        report = tmp_path / "r.json"
        arguments = [str(tmp_path / "m.onnx"), "--recipe", str(recipe), "--json", str(report)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1, result.output
        assert "NOT AS WRITTEN" in result.stdout and f"  tensor {name} differs\n" in result.stdout
        content = json.loads(report.read_text())
        assert not content["passed"] and content["origin"]["problems"][0] == f"tensor {name} differs"


def test_the_command_finds_a_change_without_the_recipe(tmp_path: Path):
    model = fresh("vit")
    tensor = next(t for t in model.graph.initializer if t.name == "blocks.0.attn.qkv.bias")
    flip(tensor, 3)
    onnx.save(model, tmp_path / "m.onnx")
    result = CliRunner().invoke(main, [str(tmp_path / "m.onnx"), "--random", "1"])
    assert result.exit_code == 1, result.output
    assert "exact: 0 differing values" in result.stdout  # both compute the changed file, and agree
    assert "it was changed after it was written" in result.stdout


def test_the_command_proves_a_good_file(written: tuple[str, Path], tmp_path: Path):
    kind, recipe = written
    onnx.save(fresh(kind), tmp_path / "m.onnx")
    result = CliRunner().invoke(main, [str(tmp_path / "m.onnx"), "--random", "1", "--recipe", str(recipe)])
    assert result.exit_code == 0, result.output
    assert f"parts compared with {recipe}" in result.stdout
    named = {entry.key: entry.value for entry in fresh(kind).metadata_props}[RECIPE_KEY]
    assert named == hashlib.sha256(recipe.read_bytes()).hexdigest()


def test_a_recipe_of_an_older_version_is_refused(written: tuple[str, Path], tmp_path: Path):
    kind, recipe = written
    content = json.loads(recipe.read_text())
    del content["contents"]
    (tmp_path / "r.json").write_text(json.dumps(content))
    (tmp_path / "r.safetensors").write_bytes(recipe.with_suffix(".safetensors").read_bytes())
    with pytest.raises(MptqError, match="does not list the parts of its file"):
        check_recipe(fresh(kind), tmp_path / "r.json")
