"""Files say which onnxruntime they need at least, and --min-ort makes them fit or refuses."""

import json
from pathlib import Path

import onnx
import pytest
from tiny_models import quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import MINMAX
from mptq_export.support.errors import MptqError
from mptq_export.targets.min_onnxruntime import OLDEST_KEY, check_oldest, oldest_onnxruntime
from mptq_export.targets.preconditions import PRECONDITIONS_KEY, preconditions

from .conftest import Export


def says(path: Path, key: str = OLDEST_KEY) -> str:
    return next(entry.value for entry in onnx.load(path).metadata_props if entry.key == key)


def model(bits: int, storage: str) -> onnx.ModelProto:
    graph, recipe = quantized("vit", (bits, 8), MINMAX)
    return emit(graph, recipe, input_type="float32", producer="test", storage=storage)


@pytest.mark.parametrize(
    ("bits", "storage", "version"),
    [(8, "packed", "1.20"), (3, "packed", "1.20"), (4, "int8", "1.20"), (4, "packed", "1.23"), (6, "packed", "1.23")],
)
def test_what_a_file_holds_says_what_it_needs(bits: int, storage: str, version: str):
    """These are the versions that `tools/crosscheck/versions.py` measures: INT4 tensors are the whole difference."""
    assert oldest_onnxruntime(model(bits, storage)) == version


def test_a_model_that_is_too_new_is_refused_by_what_it_holds():
    packed = model(4, "packed")
    check_oldest(packed, None)
    check_oldest(packed, "1.23.2")
    with pytest.raises(MptqError, match=r"--min-ort 1\.22: packed weights of 4 to 7 bits.*need onnxruntime 1\.23"):
        check_oldest(packed, "1.22")


def test_the_oldest_version_stands_in_the_file_the_summary_and_the_json(export: Export, tmp_path: Path):
    result, path = export("new", "--count", 4, "--bits", "4/8", "--method", "paper", "--json", tmp_path / "new.json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert says(path) == "1.23"
    assert says(path, PRECONDITIONS_KEY) == preconditions("float32")
    assert "onnxruntime 1.23 or newer" in result.output
    assert json.loads((tmp_path / "new.json").read_text())["min_onnxruntime"] == "1.23"
    recipe = path.with_suffix(".recipe.json")
    result, old = export("old", "--recipe", recipe, "--min-ort", "1.20.1")
    assert result.exit_code == 0, (result.output, result.exception)
    assert says(old) == "1.20"
    assert "--min-ort 1.20.1" in old.with_suffix(".report.json").read_text()
    result, refused = export("packed", "--recipe", recipe, "--min-ort", "1.21", "--weight-storage", "packed")
    assert result.exit_code == 2
    assert "packed weights of 4 to 7 bits" in result.stderr
    assert not refused.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--min-ort", "1.19"), "need onnxruntime 1.20"),
        (("--min-ort", "new"), "is no version"),
        (("--min-ort", "1.22", "--bits", "4/8", "--weight-storage", "packed"), "need onnxruntime 1.23"),
        (("--min-ort", "1.22", "--mixed", "5", "--weight-storage", "packed"), "need onnxruntime 1.23"),
        (("--min-ort", "1.22", "--mixed", "1MB"), "--mixed with a file size needs"),
    ],
)
def test_what_cannot_fit_is_refused_before_the_work(
    export: Export, tmp_path: Path, options: tuple[str, ...], words: str
):
    (tmp_path / "no images").mkdir()
    result, path = export("m", "--calib", tmp_path / "no images", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not path.exists()
