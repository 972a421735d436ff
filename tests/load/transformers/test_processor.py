"""A folder's image processor: the library's own pixels, or a refusal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mptq_export.load.transformers.folder import Folder
from mptq_export.load.transformers.library import offline_library
from mptq_export.load.transformers.processor import OtherGeometryError, load_processor, resized, understand
from mptq_export.support.errors import MptqError

pytest.importorskip("transformers", reason="folders of transformers are read by transformers (the extra of that name)")
datasets = pytest.importorskip("sklearn.datasets", reason="two photographs come with scikit-learn")

SQUARE, SIDE = {"height": 32, "width": 32}, {"shortest_edge": 36}
WIDE = {"height": 24, "width": 40}


def processor(folder: Path, kind: str, **settings: Any) -> Any:
    """The library's own, from a file."""
    named = "feature_extractor_type" if kind.endswith("Extractor") else "image_processor_type"
    content = {named: kind, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    with offline_library() as library:
        return load_processor(library, Folder(folder))


def photographs() -> list[Image.Image]:
    """Wide ones, tall ones, and one of odd sides."""
    wide = [Image.fromarray(pixels) for pixels in datasets.load_sample_images().images]
    return [*wide, wide[0].rotate(90, expand=True), wide[1].crop((10, 20, 311, 333))]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {"size": SQUARE}),
        ("ViTImageProcessorFast", {"size": SQUARE, "resample": 3}),
        ("ViTFeatureExtractor", {"size": 32}),
        ("ViTImageProcessor", {"size": WIDE, "resample": 1}),
        ("ViTImageProcessor", {"size": SQUARE, "resample": 0}),
        ("DeiTImageProcessor", {"size": {"height": 37, "width": 41}, "crop_size": SQUARE}),
        ("BitImageProcessor", {"size": SIDE, "crop_size": SQUARE}),
        ("BitImageProcessor", {"size": {"shortest_edge": 30}, "crop_size": SQUARE}),
        ("BitImageProcessor", {"size": SIDE, "crop_size": {"height": 31, "width": 33}}),
        ("CLIPImageProcessor", {"size": 32, "crop_size": 32}),
        ("SiglipImageProcessor", {"size": SQUARE}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "crop_pct": 0.9}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("LevitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}),
        ("SegformerImageProcessor", {"size": SQUARE, "do_reduce_labels": True}),
        ("DPTImageProcessor", {"size": SQUARE}),
        ("ViTImageProcessor", {"size": SQUARE, "do_normalize": False}),
        (
            "ViTImageProcessor",
            {"size": SQUARE, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [99.0] * 3},
        ),
        (
            "ViTImageProcessor",
            {"size": SQUARE, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1] * 3},
        ),
    ],
)
def test_the_pixels_of_photographs_are_the_librarys(tmp_path: Path, kind: str, settings: dict[str, Any]):
    own = processor(tmp_path, kind, **settings)
    found = understand(own, 3, "the folder")
    assert found.levels == 0
    for picture in photographs():
        ours = found.preprocessing.normalize(found.preprocessing.transform_uint8(picture)[None])[0]
        theirs = np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0]
        # Both resize with PIL to the same 8-bit pixels; what is left is how float32 rounds.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 / min(found.preprocessing.std))


def test_a_processor_that_resizes_in_floats_is_off_by_a_known_level(tmp_path: Path):
    own = processor(tmp_path, "DINOv3ViTImageProcessor", size=SQUARE)
    found = understand(own, 3, "the folder")
    assert 0.3 < found.levels < 1.5
    for picture in photographs():
        ours = found.preprocessing.normalize(found.preprocessing.transform_uint8(picture)[None])[0]
        theirs = np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0]
        steps = np.abs(ours - theirs) * 255 * np.array(found.preprocessing.std)[:, None, None]
        assert steps.max() <= 1.5


def test_grey_pictures(tmp_path: Path):
    settings = {"size": SQUARE, "image_mean": [0.3], "image_std": [0.2]}
    found = understand(processor(tmp_path, "ViTImageProcessor", **settings), 1, "the folder")
    assert (found.preprocessing.input_size, found.preprocessing.mean) == ((1, 32, 32), (0.3,))


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("ViTImageProcessor", {"size": {"shortest_edge": 32}}, "depends on the picture"),
        ("ViTImageProcessor", {"do_resize": False}, "do_resize False"),
        ("YolosImageProcessor", {}, "longest_edge"),
        ("SamImageProcessor", {}, "pad_size"),
        ("Siglip2ImageProcessor", {}, "max_num_patches"),
        ("DPTImageProcessor", {"size": SQUARE, "keep_aspect_ratio": True}, "keep_aspect_ratio True"),
        ("DPTImageProcessor", {"size": SQUARE, "do_pad": True, "size_divisor": 14}, "do_pad True, size_divisor 14"),
        ("MobileViTImageProcessor", {"size": SIDE, "crop_size": SQUARE}, "do_flip_channel_order"),
        ("EfficientNetImageProcessor", {"size": SQUARE, "rescale_offset": True}, "does more than"),
        ("LlavaNextImageProcessor", {}, "does more than"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, kind: str, settings: dict[str, Any], told: str):
    own = processor(tmp_path, kind, **settings)
    with pytest.raises(OtherGeometryError, match=told) as refused:
        understand(own, 3, "the folder")
    assert "pass --img-size HxW" in str(refused.value)


@pytest.mark.parametrize(("kind", "std"), [("YolosImageProcessor", 0.229), ("SamImageProcessor", 0.229)])
def test_a_size_of_the_users_takes_the_colours_alone(tmp_path: Path, kind: str, std: float):
    found = resized(processor(tmp_path, kind), 3, (24, 40), "the folder").preprocessing
    assert (found.input_size, found.crop_mode, found.crop_pct, found.resize_to) == ((3, 24, 40), "squash", 1.0, None)
    assert found.std[0] == std


def test_colours_that_are_flipped_stay_refused_at_any_size(tmp_path: Path):
    own = processor(tmp_path, "MobileViTImageProcessor")
    with pytest.raises(MptqError, match="does more to colours than rescale and normalise"):
        resized(own, 3, (32, 32), "the folder")


def test_numbers_that_are_not_one_a_channel(tmp_path: Path):
    own = processor(tmp_path, "ViTImageProcessor", size=SQUARE, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    with pytest.raises(MptqError, match="is not 1 numbers, one a channel of the model"):
        understand(own, 1, "the folder")


def test_a_processor_in_the_new_file_of_both(tmp_path: Path):
    inner = {"image_processor_type": "ViTImageProcessor", "size": WIDE}
    content = {"image_processor": inner, "processor_class": "AProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(content), encoding="utf-8")
    assert Folder(tmp_path).processor == ("processor_config.json", inner)
    with offline_library() as library:
        own = load_processor(library, Folder(tmp_path))
    assert understand(own, 3, "the folder").preprocessing.input_size == (3, 24, 40)


def test_a_processor_that_the_library_does_not_know(tmp_path: Path):
    with pytest.raises(MptqError, match=r"cannot load the image processor of .*preprocessor_config\.json"):
        processor(tmp_path, "NoSuchImageProcessor")
