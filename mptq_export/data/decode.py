"""An image file as 8 bits a channel: orientation, and what Pillow would clip."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mptq_export.support.errors import MptqError

_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0112, 258, 262
_WHITE_IS_ZERO = 0
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts an image of each EXIF orientation upright (Exif 2.3, tag 274)."""
_MASK_COLOURS = 32
_SIXTEEN_AS_32 = ("PNG", "PPM")
"""Formats whose 16-bit greys some versions of Pillow hand out as 32-bit numbers: 0 to 65535 all the same."""

_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw")
"""TIFFs inside: Pillow would take the preview for the image."""


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        image: 8 bits a channel, of any mode that Pillow converts.
        turned: whether its EXIF data asks for another orientation than that of its pixels.
        masklike: whether it is a palette of few colours, as label masks are.
    """

    image: Image.Image
    turned: bool
    masklike: bool


def read_picture(file: Path, *, exif: bool) -> Picture:
    """Decode an image; of several frames the first.

    Grey images of 16 bits are scaled by the range of their type, float images by 1: Pillow's own conversion, which
    timm's reader calls, clips them at 255. All other modes are left to that conversion: palettes become colours,
    transparency is dropped (what is under it shows), 16-bit colours keep their high byte.

    Args:
        file: the image.
        exif: whether to turn it as its EXIF orientation says; timm does not.

    Raises:
        MptqError: a grey image whose range is not known.
        OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError: it cannot be decoded.
    """
    if file.suffix.lower() in _RAW:
        raise OSError("a camera's raw data, not an image")
    with Image.open(file) as opened:
        opened.load()
        turn = _turn(opened)  # after the load: Pillow itself turns TIFFs
        image = opened.transpose(turn) if exif and turn is not None else opened.copy()
        masklike = opened.mode == "P" and opened.getcolors(_MASK_COLOURS) is not None
        deep = opened.mode == "F" or opened.mode.startswith("I")
        return Picture(_scaled(file, image, _top(file, opened)) if deep else image, turn is not None, masklike)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, struct.error):
        return None  # damaged EXIF data says nothing; the pixels are whole


def _top(file: Path, image: Image.Image) -> float:
    """The value of white in a grey image of more than 8 bits.

    Raises:
        MptqError: it is not known.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise MptqError(f"{file} is a {image.mode} TIFF in which 0 is white; save it as an 8-bit image")
    if image.mode == "F":
        return 1.0
    if image.mode == "I" and image.format not in _SIXTEEN_AS_32:
        raise MptqError(
            f"{file} holds whole numbers of 32 bits, or with a sign: their range is not known; save it with 8 bits, "
            "or with 16 bits without sign"
        )
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    return 2.0 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1


def _scaled(file: Path, image: Image.Image, top: float) -> Image.Image:
    """A grey image of 8 bits, from one whose white is `top`.

    Raises:
        MptqError: a value is outside 0 to `top`.
    """
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= top):  # NaN too
        raise MptqError(
            f"{file} holds {'floats' if image.mode == 'F' else 'numbers'} from {low:g} to {high:g}, not from 0 to "
            f"{top:g}; scale it to that range, or save it as an 8-bit image"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
