"""A detector of torchvision to its files and back to boxes: the same from the command line, replayed, and mended."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_detectors
from cli.helpers import FEW, run
from PIL import Image
from tiny_detectors import SIZE

from mptq_export import allocate, calibrate, export, load, open_search, verify
from mptq_export.api import Calibrated, ExportResult, MptqError
from mptq_export.detect.glue import Networks, detect
from mptq_export.export.parts import file_network
from mptq_export.recipe.detector import FIRST_KEY, RANGE_KEY, detector_of
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from mptq_export.verify.report import VerifyReport

PARTS = ("", ".box", ".mask")
_COUNT = 6
WIDTHS: dict[str, Any] = {"bits": (4, 4), "pins": {"roi_heads.*": (8, 8), "rpn*": (6, 6)}}


def part(out: Path, which: str, end: str = ".onnx") -> Path:
    return out.with_name(f"{out.stem}{which}{end}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(_COUNT):
        coarse = Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def calibrated(pictures: Path) -> Calibrated:
    return calibrate(load(tiny_detectors.mask_rcnn()), pictures)


@pytest.fixture(scope="module")
def exported(calibrated: Calibrated, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    out = tmp_path_factory.mktemp("detector") / "m.onnx"
    return export(calibrated, out, method="paper", **WIDTHS)


def test_three_exact_files(exported: ExportResult):
    files = [exported, *exported.heads]
    assert [each.onnx.name for each in files] == ["m.onnx", "m.box.onnx", "m.mask.onnx"]
    for each in files:
        report = verify(each.onnx, recipe=part(each.onnx, "", ".recipe.json"))
        assert (report.passed, set(report.batches)) == (True, {1, 3})
        assert part(each.onnx, "", ".report.html").is_file()
        assert each.command == exported.command
    assert [each.recipe.settings.pins for each in files] == [{"rpn*": "6/6"}, *({"roi_heads.*": "8/8"},) * 2]


def test_what_the_files_say(exported: ExportResult):
    said = [metadata_of(load_onnx(each.onnx)) for each in (exported, *exported.heads)]
    found = [detector_of(each) for each in said]
    assert [each.part for each in found if each is not None] == ["proposals", "box", "mask"]
    assert [FIRST_KEY in each for each in said] == [False, True, True]
    assert {each[FIRST_KEY] for each in said[1:]} == {said[0][CONTENTS_KEY]}
    assert ["preprocessing.mean" in each for each in said] == [True, False, False]
    low, high = json.loads(said[1][RANGE_KEY])
    assert low < 0 < high


def test_regions_are_those_of_the_quantized_stages(calibrated: Calibrated, exported: ExportResult):
    box, mask = (head.recipe.settings.calibration for head in exported.heads)
    assert box.description.endswith(f"regions for the box head in {_COUNT} images of {calibrated.asked.images}")
    assert box.images > mask.images > 0
    seen = [each.per_picture for each in (calibrated, *calibrated.heads)]
    assert seen[0] == 1
    assert len(calibrated.heads[0].images) / _COUNT < seen[1] <= 20  # all proposals, of which some were taken
    assert not box.pixel_inputs
    # A head that saw the regions of the float stages has other ranges.
    floating = calibrated.heads[0].stats.values
    assert calibrated.heads[0].images.shape[1:] == (tiny_detectors.CHANNELS, 3, 3)
    site = "roi_heads.box_head.fc6.input"
    assert exported.heads[0].recipe.activations[site].scale != floating["input"].high / 255


def test_boxes_of_a_picture(exported: ExportResult, pictures: Path):
    preprocessing, description = exported.loaded.preprocessing, exported.loaded.detector
    assert description is not None
    networks = Networks(*(file_network(each.onnx, each.loaded.preprocessing) for each in (exported, *exported.heads)))
    with Image.open(pictures / "0.png") as image:
        inputs = preprocessing.normalize(preprocessing.transform_uint8(image)[None])
        (found,) = detect(description, networks, inputs, [preprocessing.placement((image.height, image.width))])
    assert found.size == (60, 80)
    assert len(found) > 0
    assert found.mask(0).shape == found.size


def test_a_replay_from_the_command_line_gives_the_same_bytes(exported: ExportResult, tmp_path: Path):
    out = tmp_path / "m.onnx"
    recipe = exported.onnx.with_suffix(".recipe.json")
    done = run("tiny_detectors:mask_rcnn", "--recipe", recipe, "--one-file", "-o", out, "--json", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "m.one.onnx").is_file()
    assert "one file" in done.stdout
    for each in (exported, *exported.heads):
        assert (tmp_path / each.onnx.name).read_bytes() == each.onnx.read_bytes()
    assert f"{out}, {part(out, '.box')}, {part(out, '.mask')}: the files of one detector" in done.stdout
    facts = json.loads((tmp_path / "m.json").read_text())
    assert [facts["detector"], *(head["detector"] for head in facts["heads"])] == ["proposals", "box", "mask"]
    assert facts["one_file"] == str(tmp_path / "m.one.onnx")
    assert "cut out of the maps of the first stage" in done.stdout


@pytest.mark.parametrize("which", PARTS)
def test_what_is_there_is_not_overwritten(which: str, calibrated: Calibrated, tmp_path: Path):
    out = tmp_path / "m.onnx"
    part(out, which).write_text("mine")
    with pytest.raises(MptqError, match=f"m{which}.onnx"):
        export(calibrated, out, method="paper")
    assert [path.name for path in tmp_path.iterdir()] == [f"m{which}.onnx"]


def test_files_without_the_others_do_not_stay(calibrated: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writing = import_module("mptq_export.export.write")
    real = writing.verify_model

    def failing(path: Path, *given: Any, **named: Any) -> Any:
        if len(onnx.load(path).graph.output) == 2:  # the box head's
            raise MptqError("cannot be run")
        return real(path, *given, **named)

    monkeypatch.setattr(writing, "verify_model", failing)
    with pytest.raises(MptqError, match=r"m\.box\.onnx was not written"):
        export(calibrated, tmp_path / "m.onnx", method="paper", **WIDTHS)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_budget_over_three_files(calibrated: Calibrated, tmp_path: Path):
    pins = {"backbone.*": (4, 4)}
    (found,) = allocate(calibrated, "3.9", widths=(3, 4), tied=True, pins=pins, method="paper")
    result = export(found, tmp_path / "m.onnx")
    files = [result, *result.heads]
    assert all(each.verification.passed for each in files if isinstance(each.verification, VerifyReport))
    facts = [each.recipe.settings.search for each in files]
    weights = [each.mean_bits[0] for each in facts if each is not None]
    # The budget is of all files together: the pinned backbone alone is above it.
    assert min(weights[1:]) < 3.9 < weights[0]
    found.search.write(tmp_path / "again.search.json")
    again = open_search(tmp_path / "again.search.json").pick("3.9", calibrated)
    assert [each.found for each in (again, *again.heads)] == [each.found for each in (found, *found.heads)]
    assert [each.problem for each in again.heads] == [each.problem for each in found.heads]


def test_a_pin_of_no_part(calibrated: Calibrated, tmp_path: Path):
    with pytest.raises(
        MptqError, match=r"--pin heads\.\* matches no layer of any part; layers are named like backbone\.\S+ or roi"
    ):
        export(calibrated, tmp_path / "m.onnx", pins={"heads.*": (4, 4)})


def test_a_detector_that_finds_nothing_calibrates_its_masks_on_proposals(pictures: Path):
    loaded = load(tiny_detectors.mask_rcnn(box_score_thresh=0.99))
    found = calibrate(loaded, pictures)
    assert "mask head is calibrated on proposals" in found.heads[1].source.warnings[0]
    assert len(found.heads[1].images) == 4 * _COUNT


def test_one_stage_from_the_command_line(pictures: Path, tmp_path: Path):
    out = tmp_path / "f.onnx"
    named = tmp_path / "classes.txt"
    named.write_text("cat\ndog\ncow\n")
    line = (
        "--calib",
        pictures,
        "--img-size",
        SIZE,
        "--method",
        "paper",
        "--bits",
        "4/4",
        "--class-map",
        named,
        "-o",
        out,
    )
    done = run("tiny_detectors:small_fcos", *line, "--json", tmp_path / "f.json")
    assert done.exit_code == 0, done.output
    assert done.stderr == FEW
    facts = json.loads((tmp_path / "f.json").read_text())
    said = detector_of(metadata_of(load_onnx(out)))
    assert said is not None
    assert said.names == ("cat", "dog", "cow")
    assert (facts["detector"], facts["heads"], facts["differing_values"]) == ("network", [], 0)
    assert facts["input"]["mean"] == {"value": [0.485, 0.456, 0.406], "from": "the detector's transform"}
    assert [each["name"] for each in facts["outputs"]] == [
        f"{kind}.{level}" for kind in ("scores", "boxes", "centerness") for level in ("0", "1")
    ]


def test_another_size_is_refused_before_any_calibration(pictures: Path, tmp_path: Path):
    done = run("tiny_detectors:mask_rcnn", "--calib", pictures, "--img-size", 96, "-o", tmp_path / "m.onnx")
    assert done.exit_code == 2
    assert "takes no images of 96x96" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_class_map_of_other_classes_is_refused(pictures: Path, tmp_path: Path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(MptqError, match="class 2 has no name"):
        calibrate(load(tiny_detectors.mask_rcnn()), pictures, class_map=tmp_path / "classes.txt")


def test_images_are_no_input_of_a_head(exported: ExportResult, pictures: Path):
    with pytest.raises(MptqError, match="whose input is cut out of maps"):
        verify(exported.heads[0].onnx, pictures)
