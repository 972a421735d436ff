"""Synthetic images with the statistics of natural ones: dead leaves.

Disks that occlude each other, with radii of density r^-3, give images whose statistics do not depend on scale, as those
of natural images do: a 1/f amplitude spectrum with sharp edges (Lee, Mumford, Huang, "Occlusion models for natural
images", IJCV 2001). Each leaf has a colour of its own and a texture with a 1/f spectrum. Colours vary most in
brightness, less from blue to yellow and least from red to green, like those of natural scenes (Ruderman, Cronin,
Chiao, "Statistics of cone responses to natural images", JOSA A 1998).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_LEAVES = 700
_SMALLEST = 1 / 60
_LARGEST = 1 / 2
"""Radii, as shares of the image's side."""
_TEXTURES = 16
_BRIGHTNESS_STD = 0.24
_OPPONENTS = np.array([[0.5, 0.5, -1.0], [1.0, -1.0, 0.0]], np.float32)
"""Blue to yellow and red to green, in (red, green, blue)."""
_OPPONENT_STD = np.array([0.09, 0.06], np.float32)


def dead_leaves(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Draw `count` images, the same ones on every call.

    Args:
        count: number of images; image i does not depend on it.
        size: height and width.
        seed: of the random generator.

    Returns:
        (count, size, size, 3) pixels.
    """
    return np.stack(list(draw_leaves(count, size, seed)))


def draw_leaves(count: int, size: int, seed: int = 0, start: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Draw images `start` to `count` of `dead_leaves`, one at a time."""
    textures = _textures(size, np.random.default_rng(seed))
    for index in range(start, count):
        yield _image(size, textures, np.random.default_rng([seed, index + 1]))


def _image(size: int, textures: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.uint8]:
    image: NDArray[np.float32] = (
        _colours(1, generator)[0] + np.float32(0.1) * textures[generator.integers(_TEXTURES), ..., None]
    )
    # The inverse of the distribution function of r^-3 between the smallest and the largest radius.
    low, high = (_SMALLEST * size) ** -2.0, (_LARGEST * size) ** -2.0
    radii = (low - generator.random(_LEAVES) * (low - high)) ** -0.5
    centres = generator.random((_LEAVES, 2)) * size
    colours = _colours(_LEAVES, generator)
    contrasts = generator.gamma(1.5, 0.04, _LEAVES).astype(np.float32)
    chosen = generator.integers(_TEXTURES, size=_LEAVES)
    # Which leaf is seen at each pixel, the later ones in front; then all their colours at once.
    down, across = ((np.arange(size) - centres[:, axis, None]) ** 2 for axis in (0, 1))
    seen = np.full((size, size), -1)
    first = np.maximum((centres - radii[:, None]).astype(int), 0)
    end = (centres + radii[:, None]).astype(int) + 2
    boxes = zip(first.tolist(), end.tolist(), (radii * radii).tolist(), strict=True)
    for leaf, ((top, left), (bottom, right), squared) in enumerate(boxes):
        inside = down[leaf, top:bottom, None] + across[leaf, left:right] <= squared
        seen[top:bottom, left:right][inside] = leaf
    y, x = np.nonzero(seen >= 0)
    leaves = seen[y, x]
    image[y, x] = colours[leaves] + (contrasts[leaves] * textures[chosen[leaves], y, x])[:, None]
    # Scenes differ in light: a gain and an offset of their own.
    lit = (image - 0.5) * generator.uniform(0.7, 1.6) + generator.normal(0.47, 0.12)
    pixels: NDArray[np.uint8] = np.rint(np.clip(lit, 0, 1) * 255).astype(np.uint8)
    return pixels


def _colours(count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(count, 3) colours around middle grey."""
    brightness = 0.5 + _BRIGHTNESS_STD * generator.standard_normal((count, 1), np.float32)
    opponent = _OPPONENT_STD * generator.standard_normal((count, 2), np.float32)
    return np.asarray(brightness + opponent @ _OPPONENTS, np.float32)


def _textures(size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(textures, size, size) noise of amplitude 1/f, mean 0 and standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(generator.standard_normal((_TEXTURES, size, size))) / frequency
    noise = np.fft.irfft2(spectrum, (size, size))
    textures: NDArray[np.float32] = (noise / noise.std(axis=(1, 2), keepdims=True)).astype(np.float32)
    return textures
