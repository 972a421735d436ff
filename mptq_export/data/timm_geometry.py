"""Pictures resized and cropped as timm's evaluation transform does it, byte for byte, with Pillow alone.

timm itself would do, but it imports torch, which a device that only runs a file does not have. The formulas are those
of `timm.data.transforms_imagenet_eval` and of the transforms of torchvision that it uses;
`tests/data/test_preprocessing.py` compares the bytes with timm's.
"""

import math

from PIL import Image

Size = tuple[int, int]
"""(height, width)."""


def resize_and_crop(
    image: Image.Image, size: Size, *, crop_pct: float, crop_mode: str, interpolation: str, fill: tuple[int, ...]
) -> Image.Image:
    """A picture of one size.

    Args:
        image: any size, of the mode that the result shall have.
        size: of the result.
        crop_pct: cropped size over resized size; above 1 there is a margin around the picture.
        crop_mode: ``center``: the shorter side is resized, the rest cropped, a margin is black. ``squash``: both sides
            are resized. ``border``: the longer side is resized, and a margin has the colour `fill`.
        interpolation: name of a resampling filter of Pillow.
        fill: a value a channel.
    """
    target = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    if crop_mode == "squash":
        resized = target
    elif crop_mode == "border":
        resized = _in_proportion(image, target, longest=True)
    elif target[0] == target[1]:
        resized = _shorter_side(image, target[0])
    else:
        resized = _in_proportion(image, target, longest=False)
    if (image.height, image.width) != resized:
        image = image.resize(resized[::-1], Image.Resampling[interpolation.upper()])
    return _centre(image, size, fill if crop_mode == "border" else (0,) * len(fill))


def _shorter_side(image: Image.Image, edge: int) -> Size:
    """The shorter side as long as `edge`, the other in proportion, rounded down."""
    if image.width <= image.height:
        return int(edge * image.height / image.width), edge
    return edge, int(edge * image.width / image.height)


def _in_proportion(image: Image.Image, target: Size, *, longest: bool) -> Size:
    """Both sides by one ratio, rounded: all of the picture within the target, or all of the target covered."""
    down, right = image.height / target[0], image.width / target[1]
    ratio = max(down, right) if longest else min(down, right)
    return round(image.height / ratio), round(image.width / ratio)


def _centre(image: Image.Image, size: Size, fill: tuple[int, ...]) -> Image.Image:
    """The middle of a picture; what the picture lacks is `fill`, with an odd row or column below and on the right."""
    if image.height < size[0] or image.width < size[1]:
        padded = max(image.height, size[0]), max(image.width, size[1])
        margin = Image.new(image.mode, padded[::-1], fill if len(fill) > 1 else fill[0])
        margin.paste(image, ((padded[1] - image.width) // 2, (padded[0] - image.height) // 2))
        image = margin
    top, left = round((image.height - size[0]) / 2), round((image.width - size[1]) / 2)
    return image.crop((left, top, left + size[1], top + size[0]))
