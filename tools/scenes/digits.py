"""The handwritten digits that scenes are made of, in two disjoint parts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional

Split = Literal["train", "test"]

CLASSES = 10
TEST_SHARE = 0.25
ENLARGED = 4
#: Sides of an enlarged digit with its empty margin, by sides of its 8x8 frame.
MARGIN = 10 / 8


@dataclass(frozen=True)
class Digits:
    """Digits, ready to be warped.

    Attributes:
        ink: float32 [D, 40, 40] in 0..1, with a margin of one of the original's pixels on every side.
        labels: int64 [D], 0..9.
    """

    ink: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Digits":
        """The same digits on another device."""
        return Digits(self.ink.to(device), self.labels.to(device))


def split_digits(split: Split) -> Digits:
    """The digits of one part, enlarged smoothly (bicubic); no digit is in both. The same for every seed of scenes."""
    digits = load_digits()
    parts = train_test_split(digits.images, digits.target, test_size=TEST_SHARE, stratify=digits.target, random_state=0)
    images, labels = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])
    small = functional.pad(torch.from_numpy(images.astype(np.float32) / 16)[:, None], (1, 1, 1, 1))
    large = functional.interpolate(small, scale_factor=ENLARGED, mode="bicubic", align_corners=False)
    return Digits(large[:, 0].clamp(0, 1), torch.from_numpy(labels.astype(np.int64)))
