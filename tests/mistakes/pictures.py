"""Pictures that a reader may take for others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .feeding import digits, pictures, repainted
from .table import Command, Mistake

Grey = NDArray[np.uint8]


def painted(paint: Callable[[Grey], Any], suffix: str = ".png") -> Callable[[Path], Command]:
    return lambda folder: ["eval", folder / "digits.onnx", "--data", repainted(folder / "val", paint, suffix)]


def see_through(grey: Grey) -> Image.Image:
    """Under what is opaque the colours are as before."""
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(np.full_like(grey, 255))))


def broken(of_ten: int, *arguments: object) -> Callable[[Path], Command]:
    """So many of ten pictures of every class are cut short."""

    def feed(folder: Path) -> Command:
        data = digits(folder / "val", each=10)
        for name in data.iterdir():
            for path in sorted(name.iterdir())[:of_ten]:
                path.write_bytes(path.read_bytes()[:100])
        return ["eval", folder / "digits.onnx", "--data", data, *arguments]

    return feed


def looped(folder: Path) -> Command:
    data = digits(folder / "val")
    (data / "3" / "again").symlink_to(data / "3", target_is_directory=True)
    return ["eval", folder / "digits.onnx", "--data", data]


def turned(folder: Path) -> Command:
    """A phone's pictures: the pixels lie on their side, and a tag says so."""
    data = digits(folder / "val")
    for path in data.rglob("*.png"):
        image, tags = Image.open(path).rotate(90), Image.Exif()
        tags[0x0112] = 6
        image.save(path, exif=tags)
    return ["eval", folder / "digits.onnx", "--data", data]


def calibrated(folder: Path, *arguments: object) -> Command:
    from .feeding import QUICK, checkpoint

    return ["export", checkpoint(folder), "--calib", folder / "calib", *QUICK, *arguments]


def all_alike(folder: Path) -> Command:
    data = pictures(folder / "calib")
    first = (data / "0.png").read_bytes()
    for path in data.iterdir():
        path.write_bytes(first)
    return calibrated(folder)


def none(folder: Path) -> Command:
    (folder / "calib").mkdir()
    return calibrated(folder)


def few(folder: Path) -> Command:
    pictures(folder / "calib", each=3)
    return calibrated(folder)


def synthetic(folder: Path) -> Command:
    return calibrated(folder)[:2] + list(calibrated(folder)[4:])


PICTURES = (
    Mistake("16 bits a pixel", painted(lambda x: Image.fromarray(x.astype(np.uint16) * 257)), "right", ("30 of 30",)),
    Mistake(
        "floats of 0 to 1",
        painted(lambda x: Image.fromarray(x.astype(np.float32) / 255), ".tiff"),
        "right",
        ("30 of 30",),
    ),
    Mistake(
        "floats of an unknown range",
        painted(lambda x: Image.fromarray(x * np.float32(40)), ".tiff"),
        "refused",
        ("range",),
    ),
    Mistake(
        "integers of 32 bits",
        painted(lambda x: Image.fromarray(x.astype(np.int32) * 70000), ".tiff"),
        "refused",
        ("range",),
    ),
    Mistake("grey with an opaque alpha", painted(see_through), "right", ("30 of 30",)),
    Mistake("a palette", painted(lambda x: Image.fromarray(x).convert("P")), "right", ("30 of 30",)),
    Mistake("a tenth that cannot be read", broken(1), "told", ("left out 10 of 100 images",)),
    Mistake("a third that cannot be read", broken(3), "refused", ("30 of 100", "--allow-skipped")),
    Mistake("a third, and leave to go on", broken(3, "--allow-skipped"), "told", ("left out 30 of 100 images",)),
    Mistake("a folder linked into itself", looped, "right", ("30 images", "30 of 30")),
    Mistake("pictures on their side", turned, "told", ("EXIF", "--exif")),
    Mistake("the same picture again and again", all_alike, "told", ("same",)),
    Mistake("a folder without pictures", none, "refused", ("no images",)),
    Mistake("three pictures to calibrate on", few, "told", ("3 inputs", "16")),
    Mistake("no pictures to calibrate on", synthetic, "told", ("synthetic", "--calib")),
)
