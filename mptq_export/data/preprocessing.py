"""From an image to a model's input, as timm or transformers do it, and its place in the ONNX metadata."""

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.placement import Placement, corner, squash
from mptq_export.data.timm_geometry import resize_and_crop
from mptq_export.support.errors import MptqError

_PREFIX = "preprocessing."
CROP_MODES = ("center", "squash", "border", "corner")
_LARGEST = 2**14
PIL_MODES = {1: "L", 3: "RGB"}
"""Pillow's mode of a picture, by its channels."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before the model sees it.

    Attributes:
        input_size: (channels, height, width) of the model's input.
        mean: mean of each channel, of pixels in 0..1.
        std: standard deviation of each channel, of pixels in 0..1.
        interpolation: name of the resampling filter in PIL, such as ``bicubic``.
        crop_pct: cropped size over resized size, in (0, 2]; above 1, timm pads the resized image with black.
        crop_mode: ``center`` (resize the shorter side, crop), ``squash`` (resize both sides, crop) or ``border``
            (resize the longer side, pad with the mean), as timm has them; or ``corner`` (the whole picture with its
            sides in proportion, as large as fits, in the top left corner; the rest is the mean).
        resize_to: what pictures are resized to before the crop, where a library says it in pixels, as transformers
            does: (shorter side,) or (height, width). The crop begins at half of what is left over, rounded down, and
            what the picture lacks is black. None: timm's rule, from the two above.

    Raises:
        MptqError: a value is outside what is described here.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    resize_to: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        channels = self.input_size[0] if len(self.input_size) == 3 else 0
        if channels < 1 or not 1 <= min(self.input_size) <= max(self.input_size) <= _LARGEST:
            raise MptqError(
                f"preprocessing: input_size {self.input_size} is not (channels, height, width) up to {_LARGEST}"
            )
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if len(self.mean) != channels or len(self.std) != channels or not finite or min(self.std) <= 0:
            raise MptqError(
                f"preprocessing: mean {self.mean} and std {self.std} are not {channels} numbers each, with every std "
                "above 0; overrule them with --mean and --std"
            )
        pictures = channels in PIL_MODES
        if pictures and not (0 <= min(self.mean) <= max(self.mean) <= 1 and max(self.std) <= 1):
            raise MptqError(
                f"preprocessing: mean {self.mean} and std {self.std} are not those of pixels in 0..1; divide those of "
                "pixels in 0..255 by 255, and give them with --mean and --std"
            )
        if self.interpolation.upper() not in Image.Resampling.__members__:
            known = ", ".join(name.lower() for name in Image.Resampling.__members__)
            raise MptqError(
                f"preprocessing: unknown interpolation {self.interpolation!r}; overrule it with --interpolation, "
                f"one of {known}"
            )
        if not 0 < self.crop_pct <= 2:
            raise MptqError(f"preprocessing: crop_pct {self.crop_pct} is outside (0, 2]; overrule it with --crop-pct")
        if self.crop_mode not in CROP_MODES:
            raise MptqError(
                f"preprocessing: unknown crop_mode {self.crop_mode!r}; overrule it with --crop-mode, one of "
                f"{', '.join(CROP_MODES)}"
            )
        if self.crop_mode == "corner" and (self.crop_pct != 1 or self.resize_to is not None):
            raise MptqError("preprocessing: crop_mode corner cuts nothing off; give --crop-pct 1")
        if self.resize_to is not None and not (
            len(self.resize_to) in (1, 2) and 1 <= min(self.resize_to) <= max(self.resize_to) <= _LARGEST
        ):
            raise MptqError(
                f"preprocessing: resize_to {self.resize_to} is neither a shorter side nor height and width up to "
                f"{_LARGEST}"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocessing":
        """Take the values out of a resolved timm data configuration, or what `to_metadata` wrote; ignore other keys.

        Raises:
            MptqError: a value is missing or has the wrong type.
        """
        try:
            channels, height, width = config["input_size"]
            resize_to = config.get("resize_to")
            return cls(
                input_size=(int(channels), int(height), int(width)),
                mean=tuple(float(value) for value in config["mean"]),
                std=tuple(float(value) for value in config["std"]),
                interpolation=str(config["interpolation"]),
                crop_pct=float(config["crop_pct"]),
                crop_mode=str(config["crop_mode"]),
                resize_to=None if resize_to is None else tuple(int(edge) for edge in resize_to),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MptqError(f"preprocessing: {type(error).__name__} {error} in {reprlib.repr(dict(config))}") from error

    def to_metadata(self) -> dict[str, str]:
        """Key and JSON value of each field that is set, for the ONNX file's `metadata_props`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {_PREFIX + name: json.dumps(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Preprocessing":
        """Read back what `to_metadata` wrote; other keys are ignored.

        Raises:
            MptqError: a field is missing or malformed.
        """
        stored = [name for name in cls.__dataclass_fields__ if _PREFIX + name in metadata]
        missing = [name for name in cls.__dataclass_fields__ if name not in (*stored, "resize_to")]
        if missing:
            raise MptqError(
                f"the file's metadata has no {_PREFIX}{missing[0]}: it does not say how images become its input; "
                "use a file that mptq-export wrote"
            )
        try:
            config = {name: json.loads(metadata[_PREFIX + name]) for name in stored}
        except (ValueError, RecursionError) as error:
            raise MptqError(f"the file's preprocessing metadata is not JSON ({error}); export it again") from error
        return cls.from_config(config)

    def transform_uint8(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop.

        Args:
            image: of any mode and size.

        Returns:
            (height, width, channels) pixels.

        Raises:
            MptqError: the model has other channels than pictures have.
        """
        self.check_pictures()
        converted = image.convert(PIL_MODES[self.input_size[0]])
        if self.resize_to is not None:
            return self._resized_and_cropped(converted, self.resize_to)
        if self.shows_all:
            return self._placed(converted)
        _, height, width = self.input_size
        cropped = resize_and_crop(
            converted,
            (height, width),
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            fill=tuple(round(255 * value) for value in self.mean),
        )
        return np.asarray(cropped).reshape(height, width, -1)

    def _resized_and_cropped(self, image: Image.Image, resize_to: tuple[int, ...]) -> NDArray[np.uint8]:
        channels, height, width = self.input_size
        shorter = min(image.size)
        size = tuple(resize_to[0] * edge // shorter for edge in image.size) if len(resize_to) == 1 else resize_to[::-1]
        resized = image.resize((size[0], size[1]), Image.Resampling[self.interpolation.upper()])
        left, top = (resized.width - width) // 2, (resized.height - height) // 2
        cropped = resized.crop((left, top, left + width, top + height))  # black, where it reaches beyond
        return np.asarray(cropped).reshape(height, width, channels)

    @property
    def shows_all(self) -> bool:
        """Whether the input is all of a picture, so that there is a way back from it: `placement`."""
        if self.resize_to is not None:
            return self.resize_to == self.input_size[1:]
        return self.crop_pct == 1 and self.crop_mode in ("corner", "squash")

    def check_whole(self) -> None:
        """Refuse to go back from the input to the picture where it need not be all of it.

        Raises:
            MptqError: it need not.
        """
        if not self.shows_all:
            raise MptqError(
                f"crop mode {self.crop_mode} at {self.crop_pct:g} does not show whole pictures, and what is cut off "
                "cannot be found; export with --crop-mode corner (or squash) and --crop-pct 1"
            )

    def placement(self, picture: tuple[int, int]) -> Placement:
        """Where a picture (height, width) lies in the input.

        Raises:
            MptqError: the input need not be all of it.
        """
        self.check_whole()
        return (corner if self.crop_mode == "corner" else squash)(picture, self.input_size[1:])

    def _placed(self, image: Image.Image) -> NDArray[np.uint8]:
        """All of a picture by Pillow alone; of `squash` the bits that timm gives."""
        rows, columns = self.placement((image.height, image.width)).inside
        resized = image.resize((columns, rows), Image.Resampling[self.interpolation.upper()])
        channels, height, width = self.input_size
        filling = np.rint(255 * np.array(self.mean)).astype(np.uint8)
        pixels = np.broadcast_to(filling, (height, width, channels)).copy()
        pixels[:rows, :columns] = np.asarray(resized).reshape(rows, columns, channels)
        return pixels

    def check_pictures(self) -> None:
        """Refuse to make pictures the input of a model that has neither 1 nor 3 channels.

        Raises:
            MptqError: it has others.
        """
        if self.input_size[0] not in PIL_MODES:
            raise MptqError(
                f"the model takes {self.input_size[0]} channels, and pictures have 1 or 3: with --calib give an .npy "
                f"or .npz of preprocessed inputs [inputs, {', '.join(map(str, self.input_size))}]"
            )

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(x / 255 - mean) / std``, every step in float32: the bits of torchvision's ToTensor and Normalize.

        Args:
            pixels: (images, height, width, channels).

        Returns:
            (images, channels, height, width).
        """
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
