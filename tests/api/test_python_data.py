"""Calibration data of a program's own, from `calibrate` to the file, its recipe, its kit and its page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.helpers import KIND, save
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from tiny_models import pixels
from torch.utils.data import DataLoader, TensorDataset

from mptq_export import calibrate, export, load
from mptq_export.api import LoadedModel, MptqError
from mptq_export.recipe.store import read_recipe
from mptq_export.report.evidence import read_evidence

PIXELS = pixels(KIND, 20, 3).numpy()
pytestmark = pytest.mark.filterwarnings("ignore::mptq_export.support.errors.MptqWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(save(tmp_path_factory.mktemp("data") / "m.pt"))


@pytest.fixture(scope="module")
def inputs(model: LoadedModel) -> NDArray[np.float32]:
    return model.preprocessing.normalize(PIXELS)


def loader(inputs: NDArray[np.float32]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.from_numpy(inputs), torch.arange(len(inputs)) % 7), batch_size=6)


def codes(path: Path) -> bytes:
    return path.with_suffix(".recipe.safetensors").read_bytes()


def test_a_data_loader_gives_the_codes_that_its_inputs_give(
    model: LoadedModel, inputs: NDArray[np.float32], tmp_path: Path
):
    np.save(tmp_path / "x.npy", inputs[:16])
    result = export(
        calibrate(model, loader(inputs), count=16), tmp_path / "a.onnx", method="paper", kit=tmp_path / "kit"
    )
    export(calibrate(model, tmp_path / "x.npy"), tmp_path / "b.onnx", method="paper")
    assert codes(tmp_path / "a.onnx") == codes(tmp_path / "b.onnx")
    facts = read_recipe(tmp_path / "a.recipe.json").settings.calibration
    assert (facts.description, facts.images, facts.pixel_inputs) == ("16 inputs of a DataLoader", 16, True)
    evidence = read_evidence(tmp_path / "a.report.json")
    assert evidence.agreement is not None
    assert (evidence.agreement.images, evidence.agreement.calibrated) == (4, 0)  # those that follow
    assert evidence.agreement.source == "4 inputs of a DataLoader that follow those"
    assert "--calib INPUTS.npy" in result.command and "# in Python: INPUTS.npy: what calibrate(" in result.command
    assert "16 inputs of a DataLoader" in (tmp_path / "a.report.html").read_text()
    assert (tmp_path / "kit" / "model.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    again = export(load(model.asked.name), tmp_path / "again.onnx", recipe=tmp_path / "a.recipe.json")
    assert again.onnx.read_bytes() == (tmp_path / "a.onnx").read_bytes()
    assert read_evidence(tmp_path / "again.report.json").agreement == evidence.agreement


def test_timms_own_transform_gives_what_the_models_preprocessing_gives(model: LoadedModel, tmp_path: Path):
    how = model.preprocessing
    transform = transforms_imagenet_eval(
        img_size=how.input_size[1:], crop_pct=how.crop_pct, interpolation=how.interpolation, mean=how.mean, std=how.std
    )
    (tmp_path / "calib").mkdir()
    for i, image in enumerate(PIXELS[:16]):
        Image.fromarray(image).resize((50, 40)).save(tmp_path / "calib" / f"{i:02}.png")
    usual = calibrate(model, tmp_path / "calib")
    own = calibrate(model, tmp_path / "calib", transform=transform)
    assert torch.equal(own.images, usual.images) and own.stats == usual.stats
    assert own.source.warnings == usual.source.warnings == ()
    listed = calibrate(model, sorted(str(path) for path in (tmp_path / "calib").iterdir()), transform=transform)
    assert torch.equal(listed.images, usual.images)
    result = export(own, tmp_path / "own.onnx", method="paper")
    assert result.recipe.settings.calibration.description.endswith("prepared by Compose")
    evidence = read_evidence(tmp_path / "own.report.json").agreement
    assert evidence is not None and evidence.images == 16


def test_whether_inputs_are_pixels_is_found_out(model: LoadedModel, inputs: NDArray[np.float32], tmp_path: Path):
    calibrated = calibrate(model, iter([3 * inputs]), any_range=True)
    assert calibrated.pixel_inputs is False
    with pytest.raises(MptqError, match="20 inputs of a list_iterator: these are not 8-bit pixels"):
        export(calibrated, tmp_path / "m.onnx", input_type="uint8")
    assert calibrate(model, iter([inputs])).pixel_inputs is True


def test_inputs_that_do_not_fit_are_refused_before_the_model_is_captured(
    model: LoadedModel, inputs: NDArray[np.float32]
):
    for data, words in (
        (inputs[:, :, :16], "the model takes .inputs, 3, 32, 32."),
        (loader(inputs * np.float32("nan")), "holds NaN or Inf"),
        (iter([]), "is empty"),
    ):
        with pytest.raises(MptqError, match=words):
            calibrate(model, data)
