"""--target: the same file for ort and ort-web, the portable form for all others, and refusals by the rule's name."""

from collections import Counter
from pathlib import Path

import onnx
import pytest

from mptq_export.export.write_portable import FORM_KEY
from mptq_export.recipe.store import read_recipe
from mptq_export.support.errors import MptqError
from mptq_export.targets.rules import check_target, storage_for
from mptq_export.targets.table import TARGETS

from .conftest import Export


def nodes(path: Path) -> bytes:
    """Everything of a file but its metadata, which names the target."""
    model = onnx.load(path)
    return model.graph.SerializeToString(deterministic=True)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_exact_targets_get_the_same_file(export: Export):
    result, ort = export("ort", "--count", 4, "--bits", "5/8")
    assert result.exit_code == 0, (result.output, result.exception)
    result, web = export("web", "--recipe", ort.with_suffix(".recipe.json"), "--target", "ort-web")
    assert result.exit_code == 0, (result.output, result.exception)
    assert metadata(web)["mptq.target"] == "ort-web"
    assert FORM_KEY not in metadata(web)
    assert read_recipe(web.with_suffix(".recipe.json")).settings.target == "ort-web"
    assert nodes(web) == nodes(ort)


@pytest.mark.parametrize("target", [name for name, target in TARGETS.items() if target.portable])
def test_other_targets_get_a_portable_file(export: Export, target: str):
    form = TARGETS[target].portable
    assert form is not None
    result, path = export(target, "--count", 4, "--method", "paper", "--target", target)
    assert result.exit_code == 0, (result.output, result.exception)
    model, settings = onnx.load(path), read_recipe(path.with_suffix(".recipe.json")).settings
    assert (metadata(path)[FORM_KEY], metadata(path)["mptq.target"]) == ("portable", target)
    assert (settings.form, settings.target) == ("portable", target)
    assert settings.residual_bits == (form.residual_bits[0] if form.residual_bits else 32)
    assert (model.opset_import[0].version, model.ir_version) == (form.opset, form.ir)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_value == 1 if form.fixed_batch else batch.dim_param == "batch"
    assert f"portable, for {target}" in result.output
    assert ("never run there" in result.stderr) == (not form.run)
    again, same = export("again", "--recipe", path.with_suffix(".recipe.json"))
    assert again.exit_code == 0, (again.output, again.exception)
    assert same.read_bytes() == path.read_bytes()


def test_a_recipe_serves_no_other_form(export: Export):
    exact = export("a", "--count", 4, "--method", "paper")[1]
    result, path = export("b", "--recipe", exact.with_suffix(".recipe.json"), "--target", "qnn")
    assert result.exit_code == 2
    assert "its codes are of the exact form for ort, and --target qnn has others" in result.stderr
    assert not path.exists()


def test_widths_that_a_target_has(export: Export):
    result, path = export("q", "--count", 4, "--method", "paper", "--bits", "4/16", "--target", "qnn")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "--target qnn" in (path.with_suffix(".report.json")).read_text()
    types = Counter(tensor.data_type for tensor in onnx.load(path).graph.initializer)
    assert types[onnx.TensorProto.INT4] > 10
    assert types[onnx.TensorProto.UINT16] > 0
    narrow = export("n", "--count", 4, "--method", "paper", "--residual-bits", "8", "--target", "qnn")[1]
    types = Counter(tensor.data_type for tensor in onnx.load(narrow).graph.initializer)
    assert types[onnx.TensorProto.UINT16] == 0


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--target", "tensorrt", "--bits", "4/8"), "weight widths"),
        (("--target", "qnn", "--bits", "8/6"), "activation widths"),
        (("--target", "qnn", "--pin", "blocks.0.*=8/4"), "activation widths"),
        (("--target", "openvino", "--weight-storage", "int8"), "weight storage"),
        (("--target", "openvino", "--residual-bits", "8"), "residual"),
        (("--target", "rknn", "--residual-bits", "16"), "residual"),
        (("--target", "ort", "--bits", "8/16"), "widths"),
        (("--target", "ort", "--residual-bits", "16"), "residual"),
    ],
)
def test_what_a_target_cannot_take_is_refused_by_rule(export: Export, options: tuple[str, ...], rule: str):
    result, path = export("m", "--count", 4, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: rule '{rule}' of --target {options[1]}")
    assert result.stderr.count("\n") == 1
    assert not path.exists()


def test_the_table():
    for name, target in TARGETS.items():
        assert storage_for(name, None) == target.storages[0]
        assert set(target.storages) <= {"packed", "int8"}
        check_target(name, None, [(8, 8)])
    assert storage_for("ort", None, "int8") == "int8"
    assert storage_for("qnn", None, "int8") == "packed"
    assert TARGETS["ort-web"] == TARGETS["ort"]
    with pytest.raises(MptqError, match="--target nowhere is not known"):
        check_target("nowhere", None, [])
