"""Mixed files beside uniform ones, and what any widths could win."""

import json
import shutil
from itertools import cycle
from pathlib import Path

import pytest

from tools.bench.mixed_bound import main as bound
from tools.bench.mixed_table import main as table

from .command import run


def test_files_on_the_same_images(checkpoint: Path, exported: Path, companion: Path, folder: Path, tmp_path: Path):
    written = tmp_path / "table.json"
    for number, image in zip(range(7), cycle(sorted(folder.rglob("*.png"))), strict=False):  # a folder a logit
        (tmp_path / "val" / f"class{number}").mkdir(parents=True)
        shutil.copy(image, tmp_path / "val" / f"class{number}")
    result = run(table, checkpoint, "--data", tmp_path / "val", "--uniform", exported, companion, "--json", written)
    assert result.exit_code == 0, result.stderr
    report = json.loads(written.read_text())
    assert report["images"] == 7
    floating, uniform, other = report["rows"]
    assert [Path(row["file"]).name for row in report["rows"]] == ["float", "exact.onnx", "float.onnx"]
    assert uniform["kl_over"][str(exported)] == [1.0, 1.0, 1.0]
    assert uniform["top1_above"][str(exported)] == [0.0, 0.0, 0.0]
    assert uniform["kl"] > 1e-8 > other["kl"]  # the float file is the float model
    assert other["kl_over"][str(exported)][0] == pytest.approx(other["kl"] / uniform["kl"])
    assert other["top1"] == floating["top1"]
    gained, low, high = other["top1_above"][str(exported)]
    assert low <= gained <= high
    assert gained == pytest.approx(other["top1"] - uniform["top1"])


def test_no_widths_cost_more_than_uniform_ones_of_the_same_mean(checkpoint: Path, folder: Path, tmp_path: Path):
    """Uniform widths are among those that the programme chooses from."""
    written, sums = tmp_path / "bound.json", {}
    for name, judges in {"search": (), "others": ("--on", folder, "--images", 5)}.items():
        options = ("--count", 4, "--range", "3-5", "--mean", 5, "--mean", 4, "--mean", 3.5, "--json", written, *judges)
        result = run(bound, checkpoint, "--calib", folder, *options)
        assert result.exit_code == 0, result.stderr
        report = json.loads(written.read_text())
        assert report["images"] == {"search": 2, "others": 5}[name]
        rows = {row["mean"]: row for row in report["rows"]}
        assert [row["uniform"] for row in report["rows"]] == [5, 4, 4]
        assert rows[5]["all"] == pytest.approx(1)  # the range ends there
        assert rows[4]["all"] <= 1 + 1e-9 and rows[4]["all"] < rows[3.5]["all"]
        assert all(row["measured"] > 0 for row in rows.values())
        sums[name] = rows[3.5]["all"]
    assert sums["search"] != sums["others"]


def test_a_mean_below_the_range_is_refused(checkpoint: Path, folder: Path):
    result = run(bound, checkpoint, "--calib", folder, "--count", 4, "--range", "4-5", "--mean", 3)
    assert result.exit_code == 2
    assert "--mixed 3 cannot be met: at the cheapest widths of 4-5" in result.stderr
