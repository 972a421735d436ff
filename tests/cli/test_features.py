"""mptq-export --features: the maps of a backbone, what mptq-verify and mptq-eval say of them, replay, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from remembered import Memory
from tiny_models import KINDS, images, pixels, size, tiny

from mptq_export.capture.blocks import split_blocks, trunk
from mptq_export.capture.evaluate import compute
from mptq_export.capture.evaluate import evaluate as evaluate_graph
from mptq_export.capture.run import capture
from mptq_export.cli import eval as evaluation
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_model
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm.backbone import as_backbone
from mptq_export.recipe.store import read_recipe
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.transform.prepare import prepare
from mptq_export.verify.compare import verify_model
from mptq_export.verify.onnx_file import load_onnx, metadata_of

from .helpers import WRITTEN, files, run, save

PREPROCESSING = Preprocessing((3, 32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Kind, LIST and the maps that it names.
CASES = [
    ("vit", "0,1", [0, 1]),
    ("gap", "0", [0]),
    ("deit_distilled", None, [1]),
    ("dinov2_reg", "1,0", [0, 1]),
    ("swin", None, [0, 1]),
    ("swin", "0", [0]),
]


def option(text: str | None) -> list[str]:
    return ["--features"] if text is None else ["--features", text]


def run_eval(*arguments: object) -> Any:
    return CliRunner().invoke(evaluation.main, [str(argument) for argument in arguments])


def exact(kind: str, indices: list[int], x: torch.Tensor) -> list[NDArray[np.float32]]:
    """The maps that timm's own features_only model gives."""
    name, kwargs = KINDS[kind]
    backbone = timm.create_model(name, features_only=True, out_indices=indices, **kwargs).eval()
    state = backbone.state_dict()
    # A flattened Swin calls layers.0.blocks what is layers_0.blocks there.
    weights = {key.replace("layers.", "layers_"): value for key, value in tiny(kind).state_dict().items()}
    plain = {f"model.{key}": value for key, value in tiny(kind).state_dict().items()}
    backbone.load_state_dict({key: (weights | plain)[key] for key in state})
    with torch.no_grad():
        maps = [value.numpy() for value in backbone(x)]
    return [value.transpose(0, 3, 1, 2) for value in maps] if kind == "swin" else maps


def inputs(path: Path, kind: str, count: int) -> torch.Tensor:
    """Images as the file's metadata prepares them."""
    preprocessing = Preprocessing.from_metadata(metadata_of(load_onnx(path)))
    return torch.from_numpy(preprocessing.normalize(pixels(kind, count, 9).numpy()))


@pytest.mark.parametrize(("kind", "text", "indices"), CASES)
def test_the_maps_are_timms_and_the_file_is_exact(tmp_path: Path, kind: str, text: str | None, indices: list[int]):
    result = run(save(tmp_path / "m.pt", kind), *option(text), "--count", 8)
    assert result.exit_code == 0, (result.output, result.exception)
    names = [f"features.{index}" for index in indices]
    assert f"maps         {names[0]} (" in result.stdout
    out = tmp_path / "m.mptq.onnx"
    session = open_session(out)
    assert [entry.name for entry in session.get_outputs()] == names
    x = inputs(out, kind, 3)
    found = session.run(names, {"input": x.numpy()})
    for got, wanted in zip(found, exact(kind, indices, x), strict=True):
        assert got.shape == wanted.shape
        assert np.square(got - wanted).sum() < 3e-3 * np.square(wanted).sum()  # 25 dB
    report = verify_model(out, [x.numpy()])
    assert report.passed
    assert {name: each.values for name, each in report.outputs.items()} == dict(
        zip(names, (got.size for got in found), strict=True)
    )
    assert read_recipe(tmp_path / "m.mptq.recipe.json").settings.features == tuple(indices)


def test_a_map_of_the_residual_is_whole_steps_of_its_grid(tmp_path: Path):
    assert run(save(tmp_path / "m.pt"), "--features", "0,1", "--count", 8).exit_code == 0
    exponents = read_recipe(tmp_path / "m.mptq.recipe.json").exponents
    for got in open_session(tmp_path / "m.mptq.onnx").run(None, {"input": images("vit", 2).numpy()}):
        steps = got * 2.0 ** max(exponents.values())
        assert (steps == np.rint(steps)).all()
        assert np.abs(steps).max() > 1000


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_a_replay_gives_the_same_bytes(tmp_path: Path, memory: Memory, kind: str):
    model = save(tmp_path / "m.pt", kind)
    assert run(model, "--features", "--count", 4, "--bits", "4/6").exit_code == 0
    memory.forget()
    result = run(model, "--recipe", tmp_path / "m.mptq.recipe.json", "-o", tmp_path / "again.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
        assert (tmp_path / f"again.{suffix}").read_bytes() == (tmp_path / f"m.mptq.{suffix}").read_bytes()


def test_what_the_maps_do_not_need_is_not_in_the_file(tmp_path: Path):
    assert run(save(tmp_path / "m.pt"), "--features", "0", "--count", 4).exit_code == 0
    names = [node.name for node in onnx.load(tmp_path / "m.mptq.onnx").graph.node]
    assert any("blocks.0." in name for name in names)
    assert not any("blocks.1." in name or name.startswith("head") for name in names)


def test_the_float_companion_and_the_kit_have_all_maps(tmp_path: Path):
    path = tmp_path / "float.onnx"
    options = ("--features", "0,1", "--count", 8, "--float-onnx", path, "--kit", tmp_path / "kit")
    result = run(save(tmp_path / "m.pt", "swin"), *options)
    assert result.exit_code == 0, (result.output, result.exception)
    x = images("swin", 2)
    for got, wanted in zip(open_session(path).run(None, {"input": x.numpy()}), exact("swin", [0, 1], x), strict=True):
        assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
    manifest = json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["outputs"]] == ["features.0", "features.1"]


@pytest.mark.parametrize("kind", ["vit", pytest.param("swin", marks=pytest.mark.slow)])
def test_a_search_of_widths_goes_by_the_error_of_the_maps(tmp_path: Path, kind: str):
    model = save(tmp_path / "m.pt", kind)
    result = run(model, "--features", "--count", 4, "--mixed", "3", "--mixed-range", "2-4")
    assert result.exit_code == 0, (result.output, result.exception)
    front = [step["divergence"] for step in json.loads((tmp_path / "m.mptq.search.json").read_text())["steps"]]
    assert front
    assert 0 < front[0] < front[-1] < 0.1  # squares of errors by squares of maps: from above 10 dB
    assert verify_model(tmp_path / "m.mptq.onnx", [images(kind, 1).numpy()]).passed


def test_learned_rounding_sees_every_block_of_a_backbone():
    loaded = LoadedModel(tiny("vit"), "vit", {}, "", PREPROCESSING, None, (), ModelRequest(""))
    backbone = as_backbone(loaded, (0, 1))
    graph = prepare(capture(backbone.model, size("vit"), backbone.outputs), images("vit", 2))
    x = images("vit", 2)
    for cut, least in ((graph, 2), (trunk(graph), 4)):  # the first map alone keeps later values apart
        blocks = split_blocks(cut, whole=True)
        assert len(blocks) >= least
        value = x
        for block in blocks:
            value = block.run(value, compute)
        assert torch.equal(value, evaluate_graph(cut, x))


# -- mptq-eval ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint m.pt of a Swin, the file m.mptq.onnx of its maps, and images."""
    folder = tmp_path_factory.mktemp("backbone")
    assert run(save(folder / "m.pt", "swin"), "--features", "--count", 8).exit_code == 0
    (folder / "val").mkdir()
    for i, image in enumerate(pixels("swin", 4).numpy()):
        Image.fromarray(image).save(folder / "val" / f"{i}.png")
    return folder


def test_alone_there_is_nothing_to_classify(backbone: Path):
    result = run_eval(backbone / "m.mptq.onnx", "--data", backbone / "val")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    for words in ("features.0, features.1", "nothing to classify", "--float"):
        assert words in result.stderr


def test_beside_the_float_model_every_map_is_compared(backbone: Path):
    report = backbone / "eval.json"
    command = (backbone / "m.mptq.onnx", "--data", backbone / "val", "--float", backbone / "m.pt", "--json", report)
    result = run_eval(*command)
    assert result.exit_code == 0, (result.output, result.exception)
    content = json.loads(report.read_text())
    assert content["images"] == 4
    assert [entry["output"] for entry in content["outputs"]] == ["features.0", "features.1"]
    assert [entry["shape"] for entry in content["outputs"]] == [[16, 8, 8], [32, 4, 4]]
    for entry in content["outputs"]:
        assert f"{entry['output']}  " in result.stdout
        assert 25 < entry["sqnr_db"] < 80
        assert 0.99 < entry["cosine"] < 1


def test_another_float_model_is_refused(backbone: Path):
    other = save(backbone / "vit.pt", "vit")
    result = run_eval(backbone / "m.mptq.onnx", "--data", backbone / "val", "--float", other)
    assert result.exit_code == 2
    assert "not the same model" in result.stderr


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_lists_that_are_none(work: Path, refused: Callable[..., str]):
    model = work / "m.pt"
    refused(model, "--features", "0,2", words=("--features 2", "the maps 0 to 1"))
    refused(model, "--features", "1,1", words=("--features 1,1", "twice"))
    refused(model, "--features", "1;0", words=("1;0 is no list",))
    refused("--features", model, words=("m.pt is no list", "MODEL before --features"))


def test_a_recipe_names_its_maps(work: Path, refused: Callable[..., str]):
    assert run(work / "m.pt", "--calib", work / "calib", "--features", "0").exit_code == 0
    recipe = work / "m.mptq.recipe.json"
    refused(work / "m.pt", "--recipe", recipe, "--features", "0", words=("--features exclude each other",))
    content = json.loads(recipe.read_text())
    for features in (["0"], [True], {"0": 1}, [-1]):
        recipe.write_text(json.dumps({**content, "settings": {**content["settings"], "features": features}}))
        refused(
            work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=("settings", "features", "restore the file")
        )
    recipe.write_text(json.dumps({**content, "settings": {**content["settings"], "features": [1]}}))
    refused(work / "m.pt", "--recipe", recipe, "-o", work / "b.onnx", words=("recipe of another model",))


def test_a_model_without_maps(tmp_path: Path):
    loaded = load_model(save(tmp_path / "m.pt"))
    loaded.model.feature_info = []
    with pytest.raises(MptqError, match="no forward_intermediates"):
        as_backbone(loaded, ())


def test_the_report_says_nothing_of_classes(work: Path):
    assert run(work / "m.pt", "--calib", work / "calib", "--features").exit_code == 0
    page = (work / "m.mptq.report.html").read_text()
    assert "Top-1: it needs labelled images" not in page
    assert set(files(work)) >= WRITTEN
