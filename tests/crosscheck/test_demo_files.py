"""The demo's committed checkpoint and images are what their README says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mptq_export.data.images import ImageFolder
from mptq_export.load.loaders import load_model

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
CHECKPOINT = DIGITS / "digits_vit.pt"


def read(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 32, 32) and classes (n,) of an image folder."""
    files = sorted((DIGITS / folder).glob("*/*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files]), np.array([int(f.parent.name) for f in files])


@pytest.mark.parametrize(("folder", "images"), [("calib", 100), ("val", 300)])
def test_images_are_at_the_models_size_in_every_class(folder: str, images: int) -> None:
    pixels, classes = read(folder)
    assert pixels.shape == (images, 32, 32)
    assert set(classes) == set(range(10))


def test_calibration_and_validation_images_are_apart() -> None:
    calib, val = read("calib")[0], read("val")[0]
    assert not {image.tobytes() for image in calib} & {image.tobytes() for image in val}


def test_preprocessing_leaves_the_pixels_alone() -> None:
    folder = ImageFolder(DIGITS / "val", load_model(CHECKPOINT).preprocessing, labels=True)
    (pixels,) = folder.batches(300)
    assert np.array_equal(pixels, np.repeat(read("val")[0][..., None], 3, axis=3))


def test_the_checkpoint_is_small_and_names_over_97_percent_of_the_held_out_digits() -> None:
    assert CHECKPOINT.stat().st_size < 500_000
    loaded = load_model(CHECKPOINT)
    pixels, classes = read("val")
    inputs = loaded.preprocessing.normalize(np.repeat(pixels[..., None], 3, axis=3))
    with torch.no_grad():
        got = loaded.model(torch.from_numpy(inputs)).argmax(1).numpy()
    assert (got == classes).mean() > 0.97
