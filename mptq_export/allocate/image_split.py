"""Which calibration images choose the quantizers of a search, and which measure its candidates.

No candidate shall look good because it was fitted to the images that judge it.
"""

from dataclasses import dataclass

#: At most so many images measure.
MEASURING = 64


@dataclass(frozen=True)
class ImageSplit:
    """Indices of calibration images.

    Attributes:
        fitting: the quantizers of every width are chosen from them.
        measuring: the divergence of a candidate is measured on them.
    """

    fitting: list[int]
    measuring: list[int]

    @staticmethod
    def of(count: int) -> "ImageSplit":
        """Spread those that measure evenly over so many images; the others fit (one image does both)."""
        measuring = list(range(0, count, max(2, count // MEASURING))[:MEASURING])
        fitting = sorted(set(range(count)).difference(measuring))
        return ImageSplit(fitting or list(range(count)), measuring)
