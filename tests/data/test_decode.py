"""What an image file becomes: orientation, modes, and what Pillow would clip."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageDataset

from mptq_export.data.decode import read_picture
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def decoded(file: Path, exif: bool = False) -> np.ndarray:
    return np.asarray(read_picture(file, exif=exif).image.convert("RGB"))


def saved(path: Path, values: np.ndarray, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def tiff(path: Path, values: bytes, bits: int, photometric: int = 1, sample_format: int = 1) -> Path:
    """A 16x16 grey TIFF of one strip, of a kind that Pillow does not write."""
    size = len(values)
    tags = [(256, 16), (257, 16), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 16)]
    tags += [(279, size), (339, sample_format)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<L", 8 + size) + values + directory + struct.pack("<L", 0))
    return path


def test_grey_of_more_than_8_bits_is_scaled_by_its_own_range(tmp_path: Path):
    same = decoded(saved(tmp_path / "8.png", GREY))
    deep = GREY.astype(np.uint16) * 257
    twelve = [round(int(value) * 4095 / 255) for value in GREY.ravel()]
    packed = b"".join(struct.pack(">L", (a << 12 | b) << 8)[:3] for a, b in zip(twelve[::2], twelve[1::2], strict=True))
    for file in (
        saved(tmp_path / "16.png", deep),
        saved(tmp_path / "16.tif", deep),
        saved(tmp_path / "16b.tiff", deep.astype(">u2")),
        saved(tmp_path / "f.tif", GREY.astype(np.float32) / 255),
        tiff(tmp_path / "12.tif", packed, 12),
    ):
        assert np.array_equal(decoded(file), same), file.name


def test_sixteen_bits_of_a_portable_greymap(tmp_path: Path):
    (tmp_path / "x.pgm").write_bytes(b"P5 16 16 65535\n" + (GREY.astype(">u2") * 257).tobytes())
    assert np.array_equal(decoded(tmp_path / "x.pgm")[..., 0], GREY)


def test_ranges_that_are_not_known_are_refused(tmp_path: Path):
    floats = GREY.astype(np.float32)
    for file, words in (
        (saved(tmp_path / "f255.tif", floats), "floats from 0 to 255, not from 0 to 1"),
        (saved(tmp_path / "negative.tif", floats / 255 - 0.5), "floats from -0.5 to 0.5"),
        (saved(tmp_path / "nan.tif", np.full((16, 16), np.nan, np.float32)), "floats from nan to nan"),
        (saved(tmp_path / "i32.tif", GREY.astype(np.int32)), "whole numbers of 32 bits"),
        (tiff(tmp_path / "s16.tif", GREY.astype("<i2").tobytes(), 16, sample_format=2), "with a sign"),
        (tiff(tmp_path / "white.tif", GREY.astype("<u2").tobytes(), 16, photometric=0), "in which 0 is white"),
    ):
        with pytest.raises(MptqError) as caught:
            read_picture(file, exif=False)
        assert file.name in str(caught.value) and words in str(caught.value)


def test_a_range_that_is_not_known_ends_the_folder(folder: Path, preprocessing: Preprocessing):
    saved(folder / "cat" / "f.tif", GREY.astype(np.float32))
    with pytest.raises(MptqError, match=r"f\.tif holds floats from 0 to 255"):
        list(ImageFolder(folder, preprocessing, labels=False, allow_skipped=True).batches(8))


def test_other_modes_are_what_timms_reader_makes_of_them(tmp_path: Path):
    (tmp_path / "c").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    image = Image.fromarray(colours)  # transparent here and there
    image.save(tmp_path / "c" / "rgba.png")
    image.convert("P").save(tmp_path / "c" / "p.png", transparency=3)
    image.convert("LA").save(tmp_path / "c" / "la.png")
    image.convert("CMYK").save(tmp_path / "c" / "cmyk.jpg")
    image.convert("1").save(tmp_path / "c" / "1.png")
    for turned in (1, 3, 6):
        exif = Image.Exif()
        exif[0x0112] = turned
        image.convert("RGB").save(tmp_path / "c" / f"turned{turned}.jpg", exif=exif)
    theirs = ImageDataset(str(tmp_path))
    names = theirs.filenames(basename=True)
    assert len(names) == 8
    for name, (timms, _) in zip(names, theirs, strict=True):
        assert np.array_equal(decoded(tmp_path / "c" / name), np.asarray(timms)), name
    assert np.array_equal(decoded(tmp_path / "c" / "rgba.png"), colours[..., :3])  # what lies under transparency


def test_the_first_of_several_frames(tmp_path: Path):
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    for name in ("x.gif", "x.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert np.array_equal(decoded(tmp_path / name)[..., 0], GREY)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_turns_and_is_counted(tmp_path: Path, suffix: str):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    file = saved(tmp_path / f"x.{suffix}", upright, exif=exif)
    assert read_picture(file, exif=False).turned and read_picture(file, exif=True).turned
    assert decoded(file).shape == (8, 16, 3)
    turned = decoded(file, exif=True)
    assert turned.shape == (16, 8, 3)
    assert turned[:6].max() < 30 and turned[-6:].min() > 225


def test_many_turned_images_are_said_unless_they_are_turned(folder: Path, preprocessing: Preprocessing):
    exif = Image.Exif()
    exif[0x0112] = 8
    for name in ("cat/0.png", "dog/u.png"):
        Image.open(folder / name).save(folder / name, exif=exif)
    for asked in (False, True):
        images = ImageFolder(folder, preprocessing, labels=False, exif=asked)
        list(images.batches(3))
        assert images.turned == 2
        assert [note for note in images.warnings if "EXIF" in note] == (
            []
            if asked
            else [f"2 of 8 images of {folder} have an EXIF orientation, ignored as in timm; --exif turns them"]
        )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_harms_no_image(tmp_path: Path):
    file = saved(tmp_path / "x.jpg", GREY, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    assert not read_picture(file, exif=True).turned
