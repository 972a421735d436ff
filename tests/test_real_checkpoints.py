"""The main job on real checkpoints: exact, integer, and as accurate as float on real images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.images import ImageFolder
from mptq_export.evaluate.metrics import agreement
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.replay import replay_graph
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_model
from mptq_export.load.request import ModelRequest
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.store import read_recipe, recipe_paths
from mptq_export.runtime.session import open_session
from mptq_export.verify.compare import verify_model

BATCH = 8


def validation(assets: Path, loaded: LoadedModel, count: int) -> list[NDArray[np.float32]]:
    """The first validation images, normalised: float32 NCHW, a batch each."""
    folder = ImageFolder(assets / "imagenette" / "val", loaded.preprocessing, limit=count, labels=True)
    return [loaded.preprocessing.normalize(pixels) for pixels in folder.batches(BATCH)]


def float_logits(loaded: LoadedModel, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.concatenate([loaded.model(torch.from_numpy(batch)).numpy() for batch in inputs])


def file_logits(path: Path, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    session = open_session(path)
    return np.concatenate([session.run(["logits"], {"input": batch})[0] for batch in inputs])


def simulated_logits(path: Path, loaded: LoadedModel, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What the search computed with: the recipe beside the file, in torch."""
    where = recipe_paths(path)[0]
    recipe = read_recipe(where)
    graph = replay_graph(where, recipe, loaded, torch.from_numpy(inputs[0][:2]))
    simulator = Simulator.of(graph, recipe)
    with torch.no_grad():
        return np.concatenate([simulator.logits(graph, torch.from_numpy(batch)).numpy() for batch in inputs])


@pytest.mark.parametrize("name", ["deit_tiny_imagenette", pytest.param("vit_small_imagenette", marks=pytest.mark.slow)])
def test_a_real_checkpoint_is_exact_and_accurate(assets: Path, tmp_path: Path, name: str):
    out = tmp_path / "m.onnx"
    checkpoint = str(assets / f"{name}.pt")
    calibration = CalibrationRequest(assets / "imagenette" / "calib", count=16)
    export_model(ExportRequest(ModelRequest(checkpoint), Uniform(), Outputs(out), calibration))
    loaded = load_model(checkpoint)
    inputs = validation(assets, loaded, 24)

    report = verify_model(out, [inputs[0][:2]])
    assert report.passed
    assert len(report.plan.integer) == 86  # layers, attention products, and 12 sums of attention codes
    assert agreement(file_logits(out, inputs), float_logits(loaded, inputs)) >= 0.95


@pytest.mark.slow
def test_4_bits_are_exact_small_accurate_and_what_the_simulation_says(assets: Path, tmp_path: Path):
    out = tmp_path / "m.onnx"
    checkpoint = str(assets / "deit_tiny_imagenette.pt")
    calib = assets / "imagenette" / "calib"
    calibration = CalibrationRequest(calib, count=32, device="cpu")
    (result,) = export_model(ExportRequest(ModelRequest(checkpoint), Uniform((4, 4)), Outputs(out), calibration))
    assert result.onnx_bytes <= 0.17 * result.float_bytes

    loaded = load_model(checkpoint)
    inputs = validation(assets, loaded, 200)
    report = verify_model(out, [inputs[0][:2]])
    assert report.passed
    assert report.differing == 0
    assert not report.plan.floating
    assert len(report.plan.integer) == 86  # layers, attention products, and 12 sums of attention codes

    got = file_logits(out, inputs)
    assert agreement(got, float_logits(loaded, inputs)) >= 0.9
    assert agreement(got, simulated_logits(out, loaded, inputs)) >= 0.97
