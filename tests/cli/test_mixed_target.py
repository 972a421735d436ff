"""mptq-export --mixed --target qnn: widths that the runtime computes in, and what it does not is refused at once."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import Result

from mptq_export import allocate, calibrate, export, load
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.store import read_recipe
from mptq_export.report.export_files import read_export
from mptq_export.report.figures import mean_activation_bits
from mptq_export.report.network import layers_of
from mptq_export.support.errors import MptqError

from .conftest import filled
from .helpers import run

TARGET = ("--target", "qnn", "--method", "paper")


def mixed(work: Path, *arguments: object) -> Result:
    return run(work / "m.pt", "--calib", work / "calib", *TARGET, *arguments)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with the files of a search with two budgets, and what the command said; for reading."""
    folder = filled(tmp_path_factory.mktemp("target"))
    return folder, mixed(folder, "--mixed", "6/12", "--mixed", "7/10", "--pin", "head=8/16")


def bits_of(path: Path) -> tuple[ExportRecipe, dict[str, Any]]:
    recipe = read_recipe(path)
    search = recipe.settings.search
    assert search is not None
    return recipe, {layer: tuple(map(int, text.split("/"))) for layer, text in search.widths.items()}


def test_a_search_writes_files_of_the_targets_widths(searched: tuple[Path, Result]):
    work, result = searched
    assert result.exit_code == 0, (result.output, result.exception)
    assert re.search(r"bits +mixed 6/12: mean [456]\.\d\d/1[012]\.\d\d \(weights/activations\)", result.stdout)
    for label, weights, activations in (("6-12", 6, 12), ("7-10", 7, 10)):
        recipe, widths = bits_of(work / f"m.mptq.{label}.recipe.json")
        assert recipe.settings.search is not None
        means = recipe.settings.search.mean_bits
        assert means[0] <= weights and means[1] <= activations
        assert recipe.settings.search.range == (4, 16)
        assert {pair[0] for pair in widths.values()} == {4, 8}
        assert {pair[1] for pair in widths.values()} == {8, 16}
        assert widths["head"] == (8, 16)
        model = onnx.load(work / f"m.mptq.{label}.onnx")
        stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        for name, quant in recipe.weights.items():
            assert quant.bits == widths[name][0]
            kind = onnx.TensorProto.INT4 if quant.bits == 4 else onnx.TensorProto.INT8
            assert stored[f"{name}.weight.codes"] == kind
        for name, pair in widths.items():
            assert recipe.activations[f"{name}.output"].bits == pair[1]


def test_the_report_shows_the_search(searched: tuple[Path, Result]):
    page = (searched[0] / "m.mptq.6-12.report.html").read_text()
    for words in ("searched under 6/12", "mixed 6/12", "7/10", "--mixed 6/12"):
        assert words in page
    export = read_export(searched[0] / "m.mptq.6-12.onnx")
    assert export.evidence is not None
    _, widths = bits_of(searched[0] / "m.mptq.6-12.recipe.json")
    shown = layers_of(export.recipe, export.evidence.macs)
    assert {layer: bits[0] for layer, bits in shown.items()} == {layer: pair[1] for layer, pair in widths.items()}
    assert mean_activation_bits(export) == pytest.approx(export.recipe.settings.search.mean_bits[1])  # type: ignore[union-attr]
    points = json.loads((searched[0] / "m.mptq.search.json").read_text())["steps"]
    assert all(point["latency_ms"] is None and point["gbops"] > 0 and point["file_bytes"] > 0 for point in points)


def test_its_recipe_replays_the_same_bytes(searched: tuple[Path, Result], tmp_path: Path):
    work = searched[0]
    result = run(work / "m.pt", "--recipe", work / "m.mptq.6-12.recipe.json", "-o", tmp_path / "again.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
        assert (tmp_path / f"again.{suffix}").read_bytes() == (work / f"m.mptq.6-12.{suffix}").read_bytes()


def test_a_program_searches_for_a_target(searched: tuple[Path, Result], tmp_path: Path):
    """The same file as from the command line; another target is refused."""
    work = searched[0]
    calibrated = calibrate(load(work / "m.pt"), work / "calib")
    told = {"target": "qnn", "method": "paper", "pins": {"head": (8, 16)}}
    found = allocate(calibrated, ["6/12", "7/10"], **told)  # type: ignore[arg-type]
    with pytest.raises(MptqError, match="target was decided by the search"):
        export(found[0], tmp_path / "x.onnx", target="rknn")
    export(found[0], tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == (work / "m.mptq.6-12.onnx").read_bytes()


def test_a_range_leaves_some_widths_out(work: Path):
    """Weights of 4 and 8 bits, activations of 8 alone."""
    result = mixed(work, "--mixed", "6", "--mixed-range", "4-8", "--residual-bits", "8")
    assert result.exit_code == 0, (result.output, result.exception)
    _, widths = bits_of(work / "m.mptq.recipe.json")
    assert {pair[1] for pair in widths.values()} == {8}
    assert {pair[0] for pair in widths.values()} == {4, 8}


def test_a_file_size_is_kept(work: Path, searched: tuple[Path, Result]):
    """With codes that are INT4 or INT8: that of a file with mean widths of 7/10."""
    most = (searched[0] / "m.mptq.7-10.onnx").stat().st_size
    assert mixed(work, "--mixed", f"{most / 1000}kB").exit_code == 0
    assert most * 0.8 < (work / "m.mptq.onnx").stat().st_size <= most
    recipe, widths = bits_of(work / "m.mptq.recipe.json")
    assert {quant.bits for quant in recipe.weights.values()} == {4, 8}
    assert {pair[1] for pair in widths.values()} == {16}  # they are free


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--bits", "6/6"),
            ("rule 'weight widths' of --target qnn", "6/6: 6 bits are not taken", "nearest that are is 8"),
        ),
        (("--mixed", "6", "--pin", "head=6/8"), ("rule 'weight widths' of --target qnn: 6/8",)),
        (("--mixed", "6", "--pin", "head=8/4"), ("rule 'activation widths' of --target qnn: 8/4",)),
        (("--mixed", "6", "--tied"), ("--tied", "4,8/8,16", "leave --tied out")),
        (("--mixed", "15ms"), ("--mixed 15ms with --target qnn", "says nothing of that runtime", "75%")),
        (("--mixed", "3"), ("--mixed 3 cannot be met", "4,8/8,16", "4.00/8.00", "raise the budget")),
        (("--mixed", "6/7"), ("--mixed 6/7 cannot be met", "4.00/8.00")),
        (("--mixed", "9"), ("--mixed 9 is above", "ends at 8")),
        (("--mixed", "6/17"), ("--mixed 6/17 is above", "ends at 16")),
        (("--mixed", "10%"), ("--mixed 10% cannot be met", "GBOPs", "of those at 8/8")),
        (("--mixed", "10kB"), ("--mixed 10kB cannot be met", "of codes alone")),
        (("--mixed", "6", "--mixed-range", "5-7"), ("rule 'widths' of --target qnn", "--mixed-range 5-7", "4 or 8")),
        (("--mixed", "6", "--mixed-range", "8-15"), ("--mixed-range 8-15 is not LO-HI",)),
        (("--mixed", "6", "--target", "rknn"), ("rule 'widths' of --target rknn", "leave --mixed out")),
        (("--mixed", "6", "--target", "ort", "--mixed-range", "3-16"), ("--mixed-range 3-16 is not LO-HI", "qnn")),
        (("--mixed", "6", "--weight-storage", "int8"), ("rule 'weight storage' of --target qnn",)),
    ],
)
def test_what_is_refused(work: Path, refused: Callable[..., str], options: tuple[str, ...], words: tuple[str, ...]):
    refused(work / "m.pt", "--calib", work / "calib", *TARGET, *options, words=words)
