"""The example of a detector: its README runs as it stands, and its script draws the boxes that the package finds."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiny_detectors
from click.testing import CliRunner
from PIL import Image

from mptq_export import open_detector
from mptq_export.cli import eval as eval_command
from mptq_export.cli import export as export_command
from mptq_export.data.placement import Placement
from mptq_export.detect.glue import Networks, detect
from mptq_export.load.forward import tensors
from mptq_export.load.run import load
from tests.detect.described import FCOS, RCNN, RETINANET
from tests.detect.made_up_files import write_all, write_part

REPO = Path(__file__).resolve().parent.parent
EXAMPLE = REPO / "examples" / "detection"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
#: What an export of the tests adds: it is over soon.
QUICK = ("--count", "4", "--method", "minmax")


def commands() -> list[list[str]]:
    """Those of the README's first block."""
    block = re.search(r"(?:^    .+\n)+", README, re.MULTILINE)
    assert block is not None
    return [shlex.split(line) for line in block[0].splitlines()]


def script(folder: Path = EXAMPLE) -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_boxes", folder / "draw_boxes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same_boxes(file: Path, pictures: list[Image.Image]) -> int:
    """Compare the script with the package on a file, bit by bit; how many boxes there were."""
    session, opened, count = onnxruntime.InferenceSession(file), open_detector(file), 0
    for picture in pictures:
        boxes, scores, classes = script().find(session, picture)
        expected = opened.detect(picture)
        np.testing.assert_array_equal(boxes, expected.boxes)
        np.testing.assert_array_equal(scores, expected.scores)
        np.testing.assert_array_equal(classes, expected.labels)
        count += len(scores)
    return count


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the example's folder, as a fresh clone has it, to work in."""
    folder = tmp_path / "detection"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("out", "mask_rcnn.*", "yolos.*", "__pycache__"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "detectors", raising=False)
    yield folder
    sys.modules.pop("detectors", None)


def test_the_commands_run(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """With a detector that other tests export too in place of the trained one, and options that hurry."""
    pytest.importorskip("pycocotools", reason="computes AP")
    names = (here / "classes.txt").read_text().splitlines()
    (here / "classes.txt").write_text("\n".join(names[: tiny_detectors.CLASSES]))
    (here / "detectors.py").write_text("import tiny_detectors\n\nfcos = tiny_detectors.small_fcos\n")
    size = str(tiny_detectors.SIZE)
    run: dict[str, Callable[[list[str]], Any]] = {
        "mkdir": lambda given: Path(given[-1]).mkdir(),
        "mptq-export": lambda given: succeeds(export_command.main, [*given, "--img-size", size, *QUICK]),
        "mptq-eval": lambda given: succeeds(eval_command.main, given),
        "python": lambda given: drawn(given, monkeypatch),
    }
    for name, *given in commands():
        run[name](given)
    picture = Image.open(here / "out" / "boxes.png")
    assert picture.size == (3 * 3 * 128 + 2 * 4, 3 * 128)
    assert same_boxes(here / "out" / "fcos.onnx", [Image.open(here / "test/images/000001.jpg")]) > 0


def succeeds(command: Any, given: list[str]) -> None:
    result = CliRunner().invoke(command, given)
    assert result.exit_code == 0, result.output


def drawn(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", given)
    script(Path.cwd()).main()


@pytest.mark.slow
def test_the_commands_run_as_they_stand(here: Path):
    """With the trained FCOS, as a user runs them: exact, and as good as float."""
    pytest.importorskip("pycocotools", reason="computes AP")
    beside = Path(sys.executable).parent
    for name, *given in commands():
        if name == "mptq-eval":
            given += ["--json", "out/eval.json"]
        program = name if name == "mkdir" else beside / name
        ran = subprocess.run([program, *given], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        if name == "mptq-export":
            assert "checked      0 of" in ran.stdout
    (box,) = json.loads((here / "out" / "eval.json").read_text())["precision"]
    assert box["floating"]["ap"] > 0.8
    assert box["quantised"]["ap"] > box["floating"]["ap"] - 0.01
    pictures = [Image.open(path) for path in sorted((here / "test" / "images").iterdir())]
    assert same_boxes(here / "out" / "fcos.onnx", pictures) > 81


def test_pictures_of_any_size_have_the_boxes_of_the_package(tmp_path: Path):
    sizes = ((300, 100), (40, 90), (128, 96), (31, 33))
    pictures = [Image.effect_noise(size, 40).convert("RGB") for size in sizes]
    assert same_boxes(write_part(tmp_path / "model.onnx", FCOS), pictures) > len(pictures)


def test_what_a_file_takes(tmp_path: Path):
    """Bytes, or the same bytes normalised."""
    metadata = onnxruntime.InferenceSession(write_part(tmp_path / "m.onnx", FCOS)).get_modelmeta().custom_metadata_map
    picture, preprocessing = (
        Image.effect_noise((50, 70), 60).convert("RGB"),
        open_detector(tmp_path / "m.onnx").preprocessing,
    )
    pixels, inside = script().prepare(picture, metadata, "tensor(uint8)")
    np.testing.assert_array_equal(pixels[0], preprocessing.transform_uint8(picture))
    assert inside == preprocessing.placement((70, 50)).inside
    values, _ = script().prepare(picture, metadata, "tensor(float)")
    np.testing.assert_array_equal(values, preprocessing.normalize(pixels))
    assert values.dtype == np.float32


def test_other_files_are_refused(tmp_path: Path):
    picture = Image.new("RGB", (8, 8))
    for detector in (RETINANET, RCNN):
        session = onnxruntime.InferenceSession(write_part(tmp_path / f"{detector.family}.onnx", detector))
        with pytest.raises(SystemExit, match=r"no FCOS; README\.md"):
            script().find(session, picture)


def test_the_script_stands_alone(tmp_path: Path):
    """It imports nothing but onnxruntime, NumPy, Pillow and Python's own library."""
    write_part(tmp_path / "m.onnx", FCOS)
    picture, script_file = EXAMPLE / "test/images/000001.jpg", EXAMPLE / "draw_boxes.py"
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'torchvision', 'timm', 'transformers', 'onnx', 'mptq_export', 'kernels_ref'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['draw_boxes.py', 'm.onnx', {str(picture)!r}, '-o', 'b.png', '--score', '0']\n"
        f"runpy.run_path({str(script_file)!r}, run_name='__main__')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "class " in ran.stdout
    assert Image.open(tmp_path / "b.png").size == (384, 384)


def test_three_files_in_python(here: Path, capsys: pytest.CaptureFixture[str]):
    """The README's lines for Mask R-CNN, on files of one without networks."""
    (here / "out").mkdir()
    names = tuple(map(str, range(RCNN.classes)))
    write_all(here / "out" / "mask_rcnn.onnx", replace(RCNN, names=names))
    code = re.search(r"```python\n(.+?)```", README, re.DOTALL)
    assert code is not None
    exec(code[1], {})
    lines = capsys.readouterr().out.splitlines()
    found = open_detector("out/mask_rcnn.onnx").detect("test/images/000003.jpg")
    assert len(lines) == len(found) > 0
    assert lines[0].startswith(f"class {found.names[0] if found.names else None}, {found.scores[0]:.2f}, box [")
    assert lines[0].endswith(f" {found.mask(0).sum()} pixels")


def test_the_trained_detector_finds_what_torchvision_finds():
    """The committed weights, through the package's own glue, and without it."""
    import torch

    spec = importlib.util.spec_from_file_location("example_detectors", EXAMPLE / "detectors.py")
    assert spec is not None and spec.loader is not None
    pytest.importorskip("transformers", reason="the file has a YOLOS too")
    detectors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detectors)
    model = detectors.fcos()
    loaded = load(model)
    pixels = np.stack([np.asarray(Image.open(EXAMPLE / f"test/images/00000{number}.jpg")) for number in (1, 2)])

    def first(inputs: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = tensors(loaded.model(torch.from_numpy(inputs)))
        return {each.name: values.numpy() for each, values in zip(loaded.outputs, found, strict=True)}

    with torch.no_grad():
        expected = model(list(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255))
    assert loaded.detector is not None
    side = loaded.detector.image
    placements = [Placement(side, side, side)] * len(pixels)
    found = detect(loaded.detector, Networks(first), loaded.preprocessing.normalize(pixels), placements)
    for ours, theirs, digits in zip(found, expected, ([6, 7], [2, 7, 8]), strict=True):
        np.testing.assert_array_equal(ours.labels, theirs["labels"].numpy())
        np.testing.assert_allclose(ours.boxes, theirs["boxes"].numpy(), atol=1e-4)
        np.testing.assert_allclose(ours.scores, theirs["scores"].numpy(), atol=1e-5)
        assert sorted(ours.labels[ours.scores > 0.5].tolist()) == digits
