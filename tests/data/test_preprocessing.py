"""Preprocessing against timm's own transform, and its way through metadata."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("crop_pct", "size"), [(0.9, (24, 24)), (1.0, (24, 24)), (0.875, (24, 32)), (1.15, (24, 24)), (1.9, (25, 32))]
)
def test_the_bits_of_timms_evaluation_transform(
    preprocessing: Preprocessing, crop_mode: str, interpolation: str, crop_pct: float, size: tuple[int, int]
):
    config: dict[str, Any] = {
        "input_size": (3, *size),
        "interpolation": interpolation,
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    ours = dataclasses.replace(preprocessing, **config)
    timms = create_transform(**config, mean=ours.mean, std=ours.std, is_training=False)
    for image in (noise(50, 37), noise(20, 90), noise(24, 24), noise(25, 21), noise(30, 301), noise(301, 40)):
        pixels = ours.transform_uint8(image)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*size, 3)
        assert np.array_equal(ours.normalize(pixels[None])[0], timms(image).numpy())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_images_of_any_mode(preprocessing: Preprocessing, mode: str):
    assert preprocessing.transform_uint8(noise(20, 20, mode)).shape == (12, 12, 3)


def test_one_channel():
    grey = Preprocessing((1, 8, 8), (0.5,), (0.25,))
    pixels = grey.transform_uint8(noise(20, 20))
    assert pixels.shape == (8, 8, 1)
    assert grey.normalize(pixels[None]).shape == (1, 1, 8, 8)


def test_metadata_round_trip(preprocessing: Preprocessing):
    metadata = preprocessing.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert Preprocessing.from_metadata({**metadata, "other": "x"}) == preprocessing


def test_metadata_that_lacks_a_field_or_is_damaged(preprocessing: Preprocessing):
    metadata = preprocessing.to_metadata()
    with pytest.raises(MptqError, match=r"no preprocessing\.mean"):
        Preprocessing.from_metadata({key: value for key, value in metadata.items() if not key.endswith("mean")})
    with pytest.raises(MptqError, match="not JSON"):
        Preprocessing.from_metadata({**metadata, "preprocessing.std": "(1, 2"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_size", (2, 12, 12)),
        ("input_size", (3, 0, 12)),
        ("mean", (0.5,)),
        ("std", (0.2, 0.0, 0.2)),
        ("interpolation", "magic"),
        ("crop_pct", 0.0),
        ("crop_pct", 2.5),
        ("crop_mode", "zoom"),
    ],
)
def test_values_that_make_no_sense(preprocessing: Preprocessing, field: str, value: Any):
    with pytest.raises(MptqError, match="preprocessing"):
        dataclasses.replace(preprocessing, **{field: value})


@pytest.mark.parametrize("config", [{}, {"input_size": "big"}, {"input_size": (3, 4)}])
def test_configurations_that_are_malformed(config: dict[str, Any]):
    with pytest.raises(MptqError, match="preprocessing"):
        Preprocessing.from_config(config)


@pytest.mark.parametrize("resize_to", [(30,), (24,), (20,), (26, 37), (20, 20)])
@pytest.mark.parametrize("size", [(24, 24), (23, 32)])
def test_a_resize_in_pixels_crops_where_rounding_down_says(
    preprocessing: Preprocessing, resize_to: tuple[int, ...], size: tuple[int, int]
):
    ours = dataclasses.replace(preprocessing, input_size=(3, *size), resize_to=resize_to)
    for image in (noise(50, 37), noise(20, 91), noise(24, 24)):
        shorter = min(image.size)
        wanted = [int(resize_to[0] * edge / shorter) for edge in image.size] if len(resize_to) == 1 else resize_to[::-1]
        resized = np.asarray(image.resize((wanted[0], wanted[1]), Image.Resampling.BICUBIC))
        expected = np.zeros((*size, 3), np.uint8)
        ends = []
        for have, want in zip(resized.shape, size, strict=False):
            skipped, missing = max(0, (have - want) // 2), max(0, (want - have + 1) // 2)
            length = min(have, want)
            ends.append((slice(skipped, skipped + length), slice(missing, missing + length)))
        (rows, to_rows), (columns, to_columns) = ends
        expected[to_rows, to_columns] = resized[rows, columns]
        assert np.array_equal(ours.transform_uint8(image), expected)


def test_a_resize_in_pixels_goes_through_metadata_and_is_not_there_without(preprocessing: Preprocessing):
    assert "preprocessing.resize_to" not in preprocessing.to_metadata()
    said = dataclasses.replace(preprocessing, resize_to=(256,))
    assert Preprocessing.from_metadata(said.to_metadata()) == said
    for damaged in ("[]", "[0]", "[1, 2, 3]", '"x"', "7"):
        with pytest.raises(MptqError, match="preprocessing: "):
            Preprocessing.from_metadata({**said.to_metadata(), "preprocessing.resize_to": damaged})
