"""A portable file is what its recipe says, in its weights too; without a runtime there is nothing to verify of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from cli.helpers import save as save_checkpoint
from click.testing import CliRunner, Result
from onnx import numpy_helper

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.verify import main
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, contents_digest, contents_of
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_recipe
from tests.made_up_runtime import put_runtime


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portable")
    model = ModelRequest(str(save_checkpoint(folder / "m.pt")))
    outputs = Outputs(folder / "m.onnx", target="rknn")
    export_model(ExportRequest(model, Uniform(method="paper"), outputs, CalibrationRequest(count=4)))
    return outputs.onnx


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_it_is_its_recipes_codes_included(portable: Path):
    origin = check_recipe(load_onnx(portable), portable.with_suffix(".recipe.json"))
    assert origin.problems == () and origin.weights == 14  # q, k and v are layers of their own


def test_a_changed_weight_is_found_by_the_recipes_codes(portable: Path):
    model = load_onnx(portable)
    tensor = next(each for each in model.graph.initializer if each.name == "blocks.0.mlp.fc1.weight.codes")
    codes = numpy_helper.to_array(tensor).copy()
    codes[0, 0] += np.int8(1) if codes[0, 0] < 100 else np.int8(-1)
    tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    problems = check_recipe(model, portable.with_suffix(".recipe.json")).problems
    assert "the weight codes of blocks.0.mlp.fc1 are not the recipe's" in problems


def test_without_a_runtime_it_is_refused_in_a_line_that_says_what_to_type(portable: Path):
    result = run(portable)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "portable form, of which no bits are promised" in result.stderr and "--runtime" in result.stderr


def test_a_file_that_is_not_its_recipes_is_not_run(portable: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    sessions = put_runtime(monkeypatch)
    model = onnx.load(portable)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**entries, "mptq.bits": "4/8"})
    changed = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**changed, CONTENTS_KEY: contents_digest(contents_of(model))})
    onnx.save(model, tmp_path / "m.onnx")
    result = run(tmp_path / "m.onnx", "--runtime", "qnn", "--recipe", portable.with_suffix(".recipe.json"))
    assert result.exit_code == 1, result.output
    assert "NOT AS WRITTEN" in result.stdout and not sessions
