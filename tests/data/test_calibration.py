"""Calibration data of every kind behind one class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mptq_export.data.calibration import open_calibration
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import Reading
from mptq_export.data.sources import folder as pictures_of_folder
from mptq_export.data.sources import synthetic as synthetic_images
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.support.errors import MptqError


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
    assert source.folders == (("cat",), ("dog", "sub"), ("dog",))


@pytest.mark.parametrize("synthetic", [True, False])
def test_what_is_not_cached_is_read_again(
    folder: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch, synthetic: bool
):
    path = None if synthetic else folder
    (folder / "cat" / "1.jpg").write_bytes(b"")
    reading = Reading(allow_skipped=not synthetic)
    expected = all_of(open_calibration(path, preprocessing, count=8, reading=reading))
    for cached in (0, 2, 7):
        monkeypatch.setattr(synthetic_images if synthetic else pictures_of_folder, "CACHED", cached)
        source = open_calibration(path, preprocessing, count=8, reading=reading)
        assert np.array_equal(all_of(source), expected)
        assert np.array_equal(all_of(source), expected)


def test_images_that_are_left_out_are_said(folder: Path, preprocessing: Preprocessing):
    (folder / "cat" / "1.jpg").write_bytes(b"")
    with pytest.raises(MptqError, match=r"1 of 8 images .* more than a tenth \(cat/1.jpg: .*--allow-skipped"):
        open_calibration(folder, preprocessing, count=100)
    source = open_calibration(folder, preprocessing, count=100, reading=Reading(allow_skipped=True))
    assert (source.count, source.skipped) == (7, 1)
    assert len(all_of(source)) == 7
    assert source.warnings[0].startswith(f"left out 1 of 8 images of {folder} (cat/1.jpg: ")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays(tmp_path: Path, preprocessing: Preprocessing, suffix: str):
    inputs = preprocessing.normalize(np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), dtype=np.uint8))
    path = tmp_path / f"x.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, inputs)
    source = open_calibration(path, preprocessing, count=10)
    assert np.array_equal(all_of(source), inputs[::2])
    assert np.array_equal(all_of(source), inputs[::2])
    assert source.description == f"10 inputs of {path}" + (", array arr_0" if suffix == "npz" else "")


def test_which_array_was_taken_is_said(tmp_path: Path, preprocessing: Preprocessing):
    inputs = preprocessing.normalize(np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), dtype=np.uint8))
    np.savez(tmp_path / "guess.npz", train=inputs, val=inputs)
    np.savez(tmp_path / "named.npz", labels=np.zeros(20), images=inputs)
    guess = open_calibration(tmp_path / "guess.npz", preprocessing, count=20)
    assert guess.warnings == (f"{tmp_path / 'guess.npz'} holds train, val: train was taken",)
    named = open_calibration(tmp_path / "named.npz", preprocessing, count=20)
    assert named.warnings == () and named.description.endswith("array images")


@pytest.mark.parametrize(("count", "said"), [(15, True), (16, False)])
def test_fewer_than_sixteen_inputs_are_said(tmp_path: Path, preprocessing: Preprocessing, count: int, said: bool):
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    notes = open_calibration(pictures(tmp_path / "x", noise), preprocessing, count=count).warnings
    assert any(note.startswith("calibrated on 15 inputs only") for note in notes) is said


def pictures(folder: Path, pixels: np.ndarray) -> Path:
    """A folder of one picture a row."""
    folder.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return folder


def test_pictures_that_cannot_be_what_was_meant(tmp_path: Path, preprocessing: Preprocessing):
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    plain, repeated = noise.copy(), noise.copy()
    plain[:3] = plain[:3, :1, :1]
    repeated[:12] = noise[0]
    for name, pixels, words in (
        ("noise", noise, None),
        ("same", np.repeat(noise[:1], 20, 0), "are all the same"),
        ("masks", noise // 20, "are nearly black (no pixel above 12 of 255): label masks"),
        ("plain", plain, "3 of 20 images of"),
        ("repeated", repeated, "11 of 20 images of"),
    ):
        notes = open_calibration(pictures(tmp_path / name, pixels), preprocessing, count=100).warnings
        assert len(notes) == (0 if words is None else 1), notes
        assert words is None or words in notes[0]


def test_arrays_that_are_all_the_same(tmp_path: Path, preprocessing: Preprocessing):
    one = preprocessing.normalize(np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3), dtype=np.uint8))
    np.save(tmp_path / "x.npy", np.repeat(one, 20, 0))
    assert "are all the same" in open_calibration(tmp_path / "x.npy", preprocessing, count=20).warnings[0]


def test_synthetic(preprocessing: Preprocessing):
    source = open_calibration(None, preprocessing, count=5)
    first = all_of(source)
    assert first.shape == (5, 3, 12, 12)
    assert np.array_equal(first, all_of(open_calibration(None, preprocessing, count=5)))
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


def test_a_reading_that_does_not_belong_to_the_data(tmp_path: Path, folder: Path, preprocessing: Preprocessing):
    for path, reading, words in (
        (None, Reading(exif=True), "--exif belongs to --calib with a folder"),
        (tmp_path / "x.npy", Reading(allow_skipped=True), "--allow-skipped belongs to --calib with a folder"),
        (folder, Reading(any_range=True), "--any-range belongs to --calib with an array"),
    ):
        with pytest.raises(MptqError, match=words):
            open_calibration(path, preprocessing, count=5, reading=reading)
