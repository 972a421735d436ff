"""A model without a head: what its export, its report and mptq-eval say of embeddings."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from tiny_models import pixels, tiny

from mptq_export.cli.eval import main as evaluation
from mptq_export.recipe.store import read_recipe
from mptq_export.report.evidence import read_evidence
from mptq_export.report.write import write_report

from .helpers import KIND, KWARGS, run, save

IMAGES = 14
HEADLESS = ("--model-kwargs", '{"num_classes": 0}')


def run_eval(*arguments: object) -> Result:
    return CliRunner().invoke(evaluation, [str(argument) for argument in arguments])


def paint(folder: Path) -> Path:
    """Images of two classes, in a flat folder and in class folders."""
    for i, image in enumerate(pixels(KIND, IMAGES, 5).numpy()):
        tinted = np.clip(image.astype(int) // 3 + (120 if i % 2 else 0), 0, 255).astype(np.uint8)
        for place in (folder / "flat", folder / "classes" / f"c{i % 2}"):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(tinted).save(place / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with its export, a classifier with its own, and images."""
    folder = paint(tmp_path_factory.mktemp("encoder"))
    state = {name: value for name, value in tiny(KIND).state_dict().items() if not name.startswith("head.")}
    save(folder / "encoder.pt", state_dict=state, model_kwargs={**KWARGS, "num_classes": 0})
    save(folder / "classifier.pt")
    for name in ("encoder", "classifier"):
        result = run(folder / f"{name}.pt", "--calib", folder / "flat", "--method", "paper")
        assert result.exit_code == 0, (result.output, result.exception)
    return folder


def measured(made: Path, name: str, data: str, *options: object) -> tuple[Result, dict[str, Any]]:
    out = made / "eval.json"
    out.unlink(missing_ok=True)
    result = run_eval(made / f"{name}.mptq.onnx", "--data", made / data, *options, "--json", out)
    assert result.exit_code == 0, (result.output, result.exception)
    content: dict[str, Any] = json.loads(out.read_text())
    return result, content


def test_the_output_is_an_embedding(made: Path):
    (output,) = ort.InferenceSession(made / "encoder.mptq.onnx").get_outputs()
    assert (output.name, output.shape[1]) == ("embedding", 32)


def test_a_flat_folder_beside_float(made: Path):
    result, content = measured(made, "encoder", "flat", "--float", made / "encoder.pt")
    (row,) = content["outputs"]
    assert (content["images"], row["output"], row["kind"], row["channels"]) == (IMAGES, "embedding", "embedding", 32)
    assert row["quantised"] is None and row["floating"] is None
    beside = row["beside_float"]
    assert 0.99 < beside["lowest_cosine"] <= beside["cosine"] < 1
    assert beside["cosine_interval"][0] <= beside["cosine"] <= beside["cosine_interval"][1]
    near = beside["neighbours"]
    assert near["nearest_interval"][0] < near["nearest"] <= 1 and near["ten"] > 0.8
    for words in ("cosine to float 0.99", "nearest neighbour kept", "10 nearest neighbours kept"):
        assert words in result.stdout
    for word in ("top-1", "logits", "agreement", "classes"):
        assert word not in result.stdout


def test_class_folders_give_the_accuracy_of_neighbours_too(made: Path):
    result, content = measured(made, "encoder", "classes", "--float", made / "encoder.pt")
    (row,) = content["outputs"]
    assert row["quantised"]["nearest"] >= 0.9 and row["floating"]["nearest"] >= 0.9
    assert row["beside_float"]["neighbours"] is not None
    assert "1-NN accuracy" in result.stdout and result.stdout.count("quantised") == 1
    alone, content = measured(made, "encoder", "classes")
    (again,) = content["outputs"]
    assert (again["quantised"], again["beside_float"], again["floating"]) == (row["quantised"], None, None)
    assert "1-NN accuracy" in alone.stdout and "float" not in alone.stdout


def test_a_classifier_on_a_flat_folder(made: Path):
    result, content = measured(made, "classifier", "flat", "--float", made / "classifier.pt")
    assert content["agreement"] >= 0.9 and content["mean_kl"] < 0.1 and content["cosine"] > 0.99
    assert content["quantised"] == {"top1": None, "top5": None} and content["labels"] is None
    for words in ("agreement with float", "mean KL", "cosine of the logits"):
        assert words in result.stdout
    assert "top-1" not in result.stdout


@pytest.mark.parametrize(("name", "what"), [("encoder", "nearest neighbours"), ("classifier", "agreement")])
def test_what_is_missing_is_one_line(made: Path, name: str, what: str):
    result = run_eval(made / f"{name}.mptq.onnx", "--data", made / "flat")
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    for words in ("lie in no class folders", "--float", what, "a folder a class"):
        assert words in result.stderr


def test_one_class_and_images_outside_of_classes_say_nothing_alone(made: Path, tmp_path: Path):
    for place in (tmp_path / "one" / "c", tmp_path / "mixed" / "c", tmp_path / "mixed" / "d", tmp_path / "mixed"):
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / "flat" / "00.png", place)
    for data in ("one", "mixed"):
        result = run_eval(made / "encoder.mptq.onnx", "--data", tmp_path / data)
        assert result.exit_code == 2 and "--float (cosine and nearest neighbours)" in result.stderr


def test_another_float_model_is_refused(made: Path):
    for name, other in (("encoder", "classifier"), ("classifier", "encoder")):
        result = run_eval(made / f"{name}.mptq.onnx", "--data", made / "flat", "--float", made / f"{other}.pt")
        assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.stderr


def test_the_report_speaks_of_directions_and_neighbours(made: Path):
    evidence = read_evidence(made / "encoder.mptq.report.json")
    assert evidence.agreement is None
    (found,) = evidence.outputs
    assert (found.output, found.kind, found.images) == ("embedding", "embedding", IMAGES)
    assert found.cosine > 0.99 and found.lowest_cosine is not None and found.sqnr_db is None
    assert found.same_nearest is not None and found.shared_ten is not None and found.shared_ten > 0.8
    page = (made / "encoder.mptq.report.html").read_text()
    for words in ("images keep their nearest neighbour", "of the ten nearest stay", f"{found.cosine:.5f}"):
        assert words in page
    assert "logits" not in page and "get the float model" not in page and "Top-1" not in page


def test_the_page_shows_an_evaluation(made: Path, tmp_path: Path):
    for path in made.glob("encoder.mptq.*"):
        shutil.copy(path, tmp_path)
    out = tmp_path / "encoder.mptq.eval.json"
    file = tmp_path / "encoder.mptq.onnx"
    command = (file, "--data", made / "classes", "--float", made / "encoder.pt", "--json", out)
    assert run_eval(*command).exit_code == 0
    write_report(file)
    page = (tmp_path / "encoder.mptq.report.html").read_text()
    (row,) = json.loads(out.read_text())["outputs"]
    for words in (f"{row['beside_float']['cosine']:.5f}", "nearest neighbour kept", "1-NN accuracy", "14 images"):
        assert words in page


def test_feature_maps_have_a_cosine_in_the_report(made: Path, tmp_path: Path):
    options = ("--features", "0,1", "--method", "paper", "-o", tmp_path / "maps.onnx")
    assert run(made / "encoder.pt", "--calib", made / "flat", *options).exit_code == 0
    found = read_evidence(tmp_path / "maps.report.json").outputs
    assert [each.output for each in found] == ["features.0", "features.1"]
    for each in found:
        assert each.kind == "map" and each.cosine > 0.99 and each.same_nearest is None
        assert each.sqnr_db is not None and 20 < each.sqnr_db < 80
    page = (tmp_path / "maps.report.html").read_text()
    assert f"SQNR {found[1].sqnr_db:.1f} dB" in page


def test_a_search_names_its_metric(made: Path, tmp_path: Path):
    out = tmp_path / "m.onnx"
    options = ("--mixed", "3.5", "--mixed-range", "3-4", "--method", "paper", "-o", out)
    for metric, words in ((None, "by kind of output"), ("mse", "mse")):
        chosen = () if metric is None else ("--metric", metric)
        result = run(made / "encoder.pt", "--calib", made / "flat", *options, *chosen, "--force")
        assert result.exit_code == 0, (result.output, result.exception)
        settings = read_recipe(tmp_path / "m.recipe.json").settings
        assert settings.search is not None and settings.search.metric == words
        assert f"divergence ({words}) on the search images" in (tmp_path / "m.report.html").read_text()
        command = read_evidence(tmp_path / "m.report.json").command
        assert ("--metric mse" in command) is (metric is not None)
    result = run(made / "encoder.pt", "--calib", made / "flat", "--metric", "kl")
    assert result.exit_code == 2 and "--metric belongs to --mixed BUDGET" in result.stderr
    assert run(made / "encoder.pt", "--mixed", "4", "--metric", "l1").exit_code == 2


def test_the_embedding_is_timms(made: Path):
    model = tiny(KIND)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32))
    with torch.no_grad():
        exact = model.forward_head(model.forward_features(x), pre_logits=True).numpy()  # type: ignore[operator]
    session = ort.InferenceSession(made / "encoder.mptq.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.9
