"""Where a picture lies in a detector's input, and the way back."""

from dataclasses import dataclass

import numpy as np

from mptq_export.detect.numbers import Floats


@dataclass(frozen=True)
class Placement:
    """A picture that was resized into the top left corner of the input; what is right of it and below is filling.

    Attributes:
        picture: (height, width) of the picture, in its own pixels.
        inside: (height, width) that it covers in the input, in pixels of the input.
    """

    picture: tuple[int, int]
    inside: tuple[int, int]

    def to_picture(self, boxes: Floats) -> Floats:
        """Boxes [N, 4] of the input, in pixels of the picture (torchvision's `resize_boxes`)."""
        down, right = (
            np.float32(own) / np.float32(covered) for own, covered in zip(self.picture, self.inside, strict=True)
        )
        return boxes * np.array((right, down, right, down), np.float32)
