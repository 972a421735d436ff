"""--target: the same file for ort and ort-web, another form for openvino and qnn, and refusals by the rule's name."""

from pathlib import Path

import onnx
import pytest
from tiny_models import images

from mptq_export.recipe.store import read_recipe
from mptq_export.support.errors import MptqError
from mptq_export.targets.rules import check_target, storage_for
from mptq_export.targets.table import TARGETS
from mptq_export.verify.compare import verify_model

from .conftest import Export


def nodes(path: Path) -> bytes:
    """Everything of a file but its metadata, which names the target."""
    model = onnx.load(path)
    return model.graph.SerializeToString(deterministic=True)


def plain_weights(path: Path) -> int:
    """How many weights are stored as a byte a code."""
    tensors = onnx.load(path).graph.initializer
    return sum(t.name.endswith(".weight") and t.data_type == onnx.TensorProto.INT8 for t in tensors)


def test_each_target_gets_its_form(export: Export):
    result, ort = export("ort", "--count", 4, "--bits", "5/8")
    assert result.exit_code == 0, (result.output, result.exception)
    made = {"ort": ort}
    for name in ("ort-web", "openvino", "qnn"):
        result, made[name] = export(name, "--recipe", ort.with_suffix(".recipe.json"), "--target", name)
        assert result.exit_code == 0, (result.output, result.exception)
        assert {entry.key: entry.value for entry in onnx.load(made[name]).metadata_props}["mptq.target"] == name
        assert read_recipe(made[name].with_suffix(".recipe.json")).settings.target == name
    assert nodes(made["ort-web"]) == nodes(ort)
    assert plain_weights(ort) < 10
    assert [plain_weights(made[name]) for name in ("openvino", "qnn")] == [10, 10]
    batch = {name: onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0] for name, path in made.items()}
    assert [batch[name].dim_param for name in ("ort", "openvino")] == ["batch"] * 2
    assert batch["qnn"].dim_value == 1
    values = onnx.load(made["qnn"]).graph
    assert not any(
        dim.dim_param for info in (*values.value_info, *values.output) for dim in info.type.tensor_type.shape.dim
    )
    for path in made.values():  # one image: the form changes no bit
        assert verify_model(path, [images("vit", 1).numpy()]).passed


def test_a_target_can_be_asked_for_at_once(export: Export):
    result, path = export("q", "--count", 4, "--bits", "4/8", "--target", "qnn")
    assert result.exit_code == 0, (result.output, result.exception)
    settings = read_recipe(path.with_suffix(".recipe.json")).settings
    assert (settings.target, settings.weight_storage) == ("qnn", "int8")
    assert "--target qnn" in (path.with_suffix(".report.json")).read_text()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--target", "tensorrt"), "symmetric"),
        (("--target", "qnn", "--bits", "8/6"), "widths"),
        (("--target", "qnn", "--pin", "blocks.0.*=8/4"), "widths"),
        (("--target", "openvino", "--weight-storage", "packed"), "weight storage"),
    ],
)
def test_what_a_target_cannot_take_is_refused_by_rule(export: Export, options: tuple[str, ...], rule: str):
    result, path = export("m", "--count", 4, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: rule '{rule}' of --target {options[1]}")
    assert result.stderr.count("\n") == 1
    assert not path.exists()


def test_a_replay_for_a_target_sees_the_widths_of_the_recipe(export: Export):
    narrow = export("a", "--count", 4, "--bits", "8/6")[1]
    result, path = export("b", "--recipe", narrow.with_suffix(".recipe.json"), "--target", "qnn")
    assert result.exit_code == 2
    assert "rule 'widths' of --target qnn" in result.stderr
    assert not path.exists()


def test_the_table():
    for name, target in TARGETS.items():
        assert storage_for(name, None) == target.storages[0]
        assert set(target.storages) <= {"packed", "int8"}
        if target.zero_points:
            check_target(name, None, [(8, 8)])
    assert storage_for("ort", None, "int8") == "int8"
    assert storage_for("qnn", None, "packed") == "int8"
    assert TARGETS["ort-web"] == TARGETS["ort"]
    with pytest.raises(MptqError, match="--target nowhere is not known"):
        check_target("nowhere", None, [])
