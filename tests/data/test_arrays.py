"""Files of preprocessed inputs."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mptq_export.data.arrays import open_inputs
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

SIZE = (3, 4, 5)
IMAGENET = Preprocessing(SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION = Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3)
CLIP = Preprocessing(SIZE, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
UNIT = Preprocessing(SIZE, (0.0,) * 3, (1.0,) * 3)


def pixels(count: int = 70) -> np.ndarray:
    """Pixels of 0..1 that reach black and white in every channel, as those of a set of photographs do."""
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE)).astype(np.float32) / 255


def normalised(values: np.ndarray, how: Preprocessing = IMAGENET) -> np.ndarray:
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (how.mean, how.std))
    return (values - mean) / std


def inputs(count: int = 70) -> np.ndarray:
    return normalised(pixels(count))


def refusal(path: Path, how: Preprocessing = IMAGENET) -> str:
    with pytest.raises(MptqError) as caught:
        open_inputs(path, how)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_npy_stays_on_disk(tmp_path: Path):
    np.save(tmp_path / "x.npy", inputs())
    array = open_inputs(tmp_path / "x.npy", IMAGENET).values
    assert isinstance(array, np.memmap)
    assert np.array_equal(array, inputs())


@pytest.mark.parametrize("compress", [True, False])
def test_npz(tmp_path: Path, compress: bool):
    write = np.savez_compressed if compress else np.savez
    write(tmp_path / "x.npz", inputs())
    write(tmp_path / "y.npz", other=np.zeros(3), images=inputs())
    for name, taken, others in (("x.npz", "arr_0", ()), ("y.npz", "images", ("other",))):
        opened = open_inputs(tmp_path / name, IMAGENET)
        assert np.array_equal(opened.values, inputs())
        assert (opened.name, opened.others) == (taken, others)


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((2, 4, 5, 3), "x.transpose(0, 3, 1, 2)"),
        ((3, 4, 5), "x[None]"),
        ((0, 3, 4, 5), "it is empty"),
        ((2, 3, 4, 6), "resize the images"),
        ((2, 1, 4, 5), "preprocess"),
    ],
)
def test_shape(tmp_path: Path, shape: tuple[int, ...], advice: str):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    told = refusal(tmp_path / "x.npy")
    assert "[inputs, 3, 4, 5]" in told and advice in told


def test_labels_that_stand_before_the_inputs(tmp_path: Path):
    np.savez(tmp_path / "x.npz", y=np.zeros(2, np.int64), x=inputs(2))
    assert "(array y) has shape [2]" in (told := refusal(tmp_path / "x.npz"))
    assert "it was taken as the first of 2: name the one with the inputs 'images'" in told


def test_pixels_are_not_inputs(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.zeros((2, *SIZE), np.uint8))
    told = refusal(tmp_path / "x.npy")
    assert "uint8" in told and "(x / 255 - mean) / std with mean (0.485, 0.456, 0.406)" in told


@pytest.mark.parametrize(
    ("how", "values", "cause"),
    [
        (IMAGENET, pixels() * 255, "look like pixels of 0..255 that were not normalised"),
        (IMAGENET, pixels() * 99 + 3, "look like pixels of 0..255 that were not normalised"),
        (IMAGENET, pixels(), "look like pixels of 0..1 that were not normalised"),
        (IMAGENET, pixels() * 0.6 + 0.1, "look like pixels of 0..1 that were not normalised"),
        (INCEPTION, pixels(), "look like pixels of 0..1 that were not normalised"),
        (IMAGENET, normalised(pixels(), INCEPTION), "look like pixels of -1..1, normalised with mean 0.5 and std 0.5"),
        (INCEPTION, normalised(pixels(), IMAGENET), "look like pixels normalised with ImageNet's mean and std"),
        (IMAGENET, normalised(pixels(), CLIP), "look like pixels normalised with CLIP's mean and std"),
        (CLIP, normalised(pixels(), IMAGENET), "look like pixels normalised with ImageNet's mean and std"),
        (UNIT, normalised(pixels(), INCEPTION), "look like pixels of -1..1"),
        (INCEPTION, pixels() * 255 - 120, "a pixel normalised with the model's mean (0.5, 0.5, 0.5)"),
    ],
)
def test_values_that_a_normalised_pixel_cannot_have(tmp_path: Path, how: Preprocessing, values: np.ndarray, cause: str):
    np.save(tmp_path / "x.npy", values.astype(np.float32))
    told = refusal(tmp_path / "x.npy", how)
    assert cause in told and "--any-range" in told
    assert len(open_inputs(tmp_path / "x.npy", how, any_range=True).values) == 70


@pytest.mark.parametrize("how", [IMAGENET, INCEPTION, CLIP, UNIT])
def test_values_that_it_can_have(tmp_path: Path, how: Preprocessing):
    overshoot = np.clip(pixels() * 1.1 - 0.05, -0.05, 1.05)  # bicubic resampling of floats leaves 0..1
    for values in (pixels(), pixels() * 0.4 + 0.2, overshoot, np.full((4, *SIZE), 0.5)):
        np.save(tmp_path / "x.npy", normalised(values.astype(np.float32), how))
        open_inputs(tmp_path / "x.npy", how)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(tmp_path: Path, bad: float):
    array = inputs()
    array[66, 1, 2, 3] = bad
    np.save(tmp_path / "x.npy", array)
    assert "input 66 holds NaN or Inf" in refusal(tmp_path / "x.npy")


def test_missing(tmp_path: Path):
    assert "does not exist" in refusal(tmp_path / "x.npy")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated(tmp_path: Path, suffix: str, share: float):
    path = tmp_path / f"x.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, inputs())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cannot be read" in refusal(path)


def test_objects_are_not_unpickled(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([object()]), allow_pickle=True)
    assert "it holds Python objects, not numbers); save the inputs as one array of floats" in refusal(path)
    path.write_bytes(pickle.dumps([1.0]))
    told = refusal(path)
    assert "it is a pickle, or damaged" in told and "allow_pickle" not in told
    np.savez(tmp_path / "y.npz", labels=np.array([object()]), images=np.array([object()]))
    assert "it holds Python objects" in refusal(tmp_path / "y.npz")
    np.savez(tmp_path / "x.npz")
    assert "no arrays" in refusal(tmp_path / "x.npz")
