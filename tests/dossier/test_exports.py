"""Every file of an export that has several gets a dossier of its own."""

from pathlib import Path

import numpy as np
import torch
from cli.helpers import run
from tiny_detectors import faster_rcnn

from mptq_export import calibrate, export, load

from .traced import untraced


def test_each_budget_of_a_search_and_raw_pixels(work: Path):
    result = run(
        *(work / "m.pt", "--calib", work / "calib", "--mixed", "3.5", "--mixed", "3", "--mixed-range", "2-4"),
        *("--method", "minmax", "--input", "uint8", "-o", work / "s.onnx", "--dossier", work / "d"),
    )
    assert result.exit_code == 0, (result.output, result.exception)
    folders = sorted((work / "d").iterdir())
    assert [folder.name for folder in folders] == ["3", "3.5"]
    assert [untraced(folder) for folder in folders] == [[], []]


def test_each_network_of_a_detector(tmp_path: Path):
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).uniform(-1.9, 1.9, (4, 3, 32, 32)).astype(np.float32)
    calibrated = calibrate(load(faster_rcnn()), inputs)
    result = export(calibrated, tmp_path / "m.onnx", method="minmax", dossier=tmp_path / "d")
    assert result.dossier == tmp_path / "d" and result.heads[0].dossier == tmp_path / "d.box"
    assert untraced(tmp_path / "d") == [] and untraced(tmp_path / "d.box") == []
