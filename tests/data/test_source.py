"""Calibration data of every kind behind one class."""

from pathlib import Path

import numpy as np
import pytest

from mptq_export.data import source as module
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.source import CalibrationSource, open_calibration
from mptq_export.errors import MptqError


def all_of(source: CalibrationSource, size: int = 3) -> np.ndarray:
    batches = list(source.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    inputs = np.concatenate(batches)
    assert inputs.dtype == np.float32
    assert len(inputs) == source.count
    return inputs


def test_a_folder(folder: Path, preprocessing: Preprocessing):
    source = open_calibration(folder, preprocessing, count=4)
    expected = ImageFolder(folder, preprocessing, limit=4, labels=False)
    first = all_of(source)
    assert np.array_equal(first, preprocessing.normalize(next(expected.batches(4))))
    assert np.array_equal(first, all_of(source, 2))
    assert source.description == f"4 images of {folder}"
    assert source.warnings == ()


@pytest.mark.parametrize("synthetic", [True, False])
def test_what_is_not_cached_is_read_again(
    folder: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch, synthetic: bool
):
    path = None if synthetic else folder
    (folder / "cat" / "1.jpg").write_bytes(b"")
    expected = all_of(open_calibration(path, preprocessing, count=8))
    for cached in (0, 2, 7):
        monkeypatch.setattr(module, "_CACHED", cached)
        source = open_calibration(path, preprocessing, count=8)
        assert np.array_equal(all_of(source), expected)
        assert np.array_equal(all_of(source), expected)


def test_corrupt_images_are_skipped_and_said(folder: Path, preprocessing: Preprocessing):
    (folder / "cat" / "1.jpg").write_bytes(b"")
    source = open_calibration(folder, preprocessing, count=100)
    assert source.count == 7
    assert len(all_of(source)) == 7
    assert len(source.warnings) == 1
    assert "skipped 1 corrupt images" in source.warnings[0]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays(tmp_path: Path, preprocessing: Preprocessing, suffix: str):
    inputs = np.random.default_rng(0).standard_normal((10, 3, 12, 12))
    path = tmp_path / f"x.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, inputs)
    source = open_calibration(path, preprocessing, count=5)
    assert np.array_equal(all_of(source), inputs[::2].astype(np.float32))
    assert np.array_equal(all_of(source), inputs[::2].astype(np.float32))


def test_synthetic(preprocessing: Preprocessing):
    source = open_calibration(None, preprocessing, count=5, seed=3)
    first = all_of(source)
    assert first.shape == (5, 3, 12, 12)
    assert np.array_equal(first, all_of(open_calibration(None, preprocessing, count=5, seed=3)))
    assert not np.array_equal(first, all_of(open_calibration(None, preprocessing, count=5, seed=4)))
    assert "synthetic" in source.description
    assert "accuracy suffers" in source.warnings[0]


def test_synthetic_of_other_shapes():
    wide = Preprocessing((1, 8, 16), (0.5,), (0.5,))
    assert all_of(open_calibration(None, wide, count=2)).shape == (2, 1, 8, 16)


def test_nothing_usable(tmp_path: Path, preprocessing: Preprocessing):
    for path, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "none.npz", "does not exist"),
        (tmp_path, "no images"),
    ):
        with pytest.raises(MptqError, match=message):
            open_calibration(path, preprocessing, count=5)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(MptqError, match="neither a folder"):
        open_calibration(tmp_path / "x.txt", preprocessing, count=5)
    (tmp_path / "bad.png").write_text("x")
    with pytest.raises(MptqError, match="none of the 1 images"):
        open_calibration(tmp_path, preprocessing, count=5)
