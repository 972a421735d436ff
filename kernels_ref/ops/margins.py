"""The margins of convolutions and pools."""

from collections.abc import Mapping, Sequence
from typing import Any


def margins(
    sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int], attributes: Mapping[str, Any]
) -> list[tuple[int, int]]:
    """Elements before and after each axis of an image that a window moves over.

    Args:
        sizes: of the image.
        reach: of the window, dilation included.
        strides: of the window.
        attributes: `pads` (0; all before, then all after), `auto_pad` ("NOTSET").
    """
    auto = attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = attributes.get("pads", [0] * 2 * len(sizes))
        return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(sizes)
    found = []
    for size, window, stride in zip(sizes, reach, strides, strict=True):
        whole = max((-(-size // stride) - 1) * stride + window - size, 0)
        half = whole // 2
        found.append((half, whole - half) if auto == "SAME_UPPER" else (whole - half, half))
    return found
