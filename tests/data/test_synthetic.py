"""Dead leaves: deterministic, and like natural images in what can be measured."""

import numpy as np
import pytest

from mptq_export.data.synthetic import dead_leaves, draw_leaves

SIZE = 96


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return dead_leaves(12, SIZE, seed=0)


def test_shape_and_type(images: np.ndarray):
    assert images.shape == (12, SIZE, SIZE, 3)
    assert images.dtype == np.uint8


def test_deterministic(images: np.ndarray):
    assert np.array_equal(dead_leaves(3, SIZE, seed=0), images[:3])
    assert not np.array_equal(dead_leaves(1, SIZE, seed=1)[0], images[0])
    assert np.array_equal(next(draw_leaves(12, SIZE, start=5)), images[5])


def test_spectrum_falls_like_one_over_f(images: np.ndarray):
    grey = images.mean(axis=3)
    amplitude = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None, :])
    band = (frequency > 0.03) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]
    assert -1.6 < slope < -0.9


def test_brightness_varies_more_than_colour(images: np.ndarray):
    red, green, blue = (images[..., channel].astype(float) for channel in range(3))
    brightness, red_green = (red + green + blue) / 3, red - green
    assert 50 < brightness.std() < 95
    assert red_green.std() < brightness.std()
    assert 100 < brightness.mean() < 150
