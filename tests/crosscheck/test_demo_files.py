"""The demo's committed checkpoint and images are what their README says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


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


def test_the_checkpoint_is_small() -> None:
    assert (DIGITS / "digits_vit.pt").stat().st_size < 500_000
