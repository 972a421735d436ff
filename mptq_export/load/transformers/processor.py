"""A folder's image processor as `Preprocessing`, believed only where both give the same pixels for the same pictures.

Processors of one library differ in more than their settings say: some pad, tile, flip colours, resize before they
rescale. So the settings give candidates, and the library's own processor says which of them it is, on a few pictures
of several shapes. What no candidate gives is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.transformers.folder import Folder
from mptq_export.load.transformers.geometry import Geometry, colours, geometries, interpolation
from mptq_export.load.transformers.library import first_line
from mptq_export.support.errors import MptqError

_SHAPES = ((1.0, 1.0), (1.37, 1.0), (1.0, 1.9), (2.23, 1.61), (0.71, 0.83))
"""Widths and heights of the pictures, in parts of the input's: sides that end in all kinds of fractions."""
_ROUNDED = 1e-3
"""Levels by which float32 may be off, where both resize with PIL."""
_RESIZED, _MEAN_RESIZED = 8.0, 0.5
"""Levels by which torchvision's resize may be off PIL's: at worst (bicubic, at edges), and on average."""
_TELLING = (
    *("size", "do_resize", "do_pad", "pad_size", "size_divisor", "keep_aspect_ratio", "ensure_multiple_of"),
    *("do_flip_channel_order", "do_image_splitting", "do_pan_and_scan", "max_num_patches"),
)
"""Settings by which people know a processor that pads, tiles or flips."""
_NO_GEOMETRY = {"do_center_crop": False, "do_pad": False}
_OTHERWISE = "pass --img-size HxW to resize all pictures to that size instead, whatever their shape"


class OtherGeometryError(MptqError):
    """A processor whose pictures `Preprocessing` cannot make.

    Attributes:
        reason: the settings that say so.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(f"{message}; {_OTHERWISE}")
        self.reason = reason


@dataclass(frozen=True)
class Understood:
    """What a processor does.

    Attributes:
        preprocessing: the same in our terms.
        name: of the processor's class.
        levels: by how many of 255 levels a pixel may differ from the library's own; 0 where all are equal.
    """

    preprocessing: Preprocessing
    name: str
    levels: float


def load_processor(library: Any, folder: Folder) -> Any:
    """The image processor, with PIL where it has that; None where the folder has none.

    Raises:
        MptqError: the library cannot load it.
    """
    if folder.processor is None:
        return None
    try:
        return library.AutoImageProcessor.from_pretrained(
            folder.path, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise MptqError(
            f"transformers cannot load the image processor of {folder.path}/{folder.processor[0]} "
            f"({first_line(error)}); save it again, or take the file away and pass --mean and --std"
        ) from error


def understand(processor: Any, channels: int, where: str) -> Understood:
    """The preprocessing that gives the processor's own pixels.

    Args:
        processor: an image processor of transformers.
        channels: of the model's input.
        where: the file that it was read from, for people.

    Raises:
        OtherGeometryError: its pictures have no one size, or it does what `Preprocessing` cannot.
        MptqError: its settings do not fit the model.
    """
    name, settings = type(processor).__name__.removesuffix("Pil"), processor.to_dict()
    found = geometries(settings)
    how = interpolation(settings)
    candidates = [geometry.of(colours(settings, channels), how) for geometry in found]
    if not candidates:
        why = _why(settings)
        raise OtherGeometryError(
            f"{where}: {name} makes inputs whose size depends on the picture ({why}), and a file has one", why
        )
    pictures = _pictures(candidates[0].input_size)
    theirs = [_theirs(processor, picture) for picture in pictures]
    for candidate in candidates:
        levels = _difference(processor, candidate, pictures, theirs)
        if levels is not None:
            return Understood(candidate, name, levels)
    why = _why(settings)
    raise OtherGeometryError(
        f"{where}: {name} does more than resize, crop, rescale and normalise ({why}): its pixels cannot be made here",
        why,
    )


def resized(processor: Any, channels: int, size: tuple[int, int], where: str) -> Understood:
    """Only the colours of a processor: pictures are resized to one size that the user gives, whatever their shape.

    Args:
        processor: an image processor of transformers.
        channels: of the model's input.
        size: (height, width) of the input.
        where: the file that it was read from, for people.

    Raises:
        MptqError: what it does to colours is not rescaling and normalising.
    """
    name, settings = type(processor).__name__.removesuffix("Pil"), processor.to_dict()
    ours = Geometry(size, None).of(colours(settings, channels), interpolation(settings))
    picture = _pictures(ours.input_size)[:1]
    theirs = [_theirs(processor, picture[0], do_resize=False, **_NO_GEOMETRY)]
    levels = _difference(processor, ours, picture, theirs)
    if levels is None:
        raise MptqError(
            f"{where}: {name} does more to colours than rescale and normalise ({_why(settings)}); take the file away "
            "and pass --mean and --std, if that is what the model was trained with"
        )
    return Understood(ours, name, levels)


def _difference(
    processor: Any,
    ours: Preprocessing,
    pictures: Sequence[Image.Image],
    theirs: Sequence[NDArray[np.float32] | None],
) -> float | None:
    """The largest difference in levels; None where the pixels are others."""
    most, most_on_average = (_ROUNDED, _ROUNDED) if processor.backend == "pil" else (_RESIZED, _MEAN_RESIZED)
    step = 1 / (255 * np.array(ours.std, np.float64)[:, None, None])
    worst = 0.0
    for picture, own in zip(pictures, theirs, strict=True):
        made = ours.normalize(ours.transform_uint8(picture)[None])[0]
        if own is None or own.shape != made.shape:
            return None
        levels = np.abs(own.astype(np.float64) - made) / step
        if levels.max() > most or levels.mean() > most_on_average:
            return None
        worst = max(worst, float(levels.max()))
    return worst if worst > _ROUNDED else 0.0


def _theirs(processor: Any, picture: Image.Image, **options: Any) -> NDArray[np.float32] | None:
    """What the processor makes of a picture, [C, H, W]; None where it is no one picture."""
    try:
        given = processor(images=picture, return_tensors="np", **options)["pixel_values"]
    except Exception:  # noqa: BLE001 - a stranger's settings: whatever goes wrong, the processor is not understood
        return None
    pixels = np.asarray(given)
    return pixels[0].astype(np.float32) if pixels.ndim == 4 and len(pixels) == 1 else None


def _pictures(input_size: tuple[int, int, int]) -> list[Image.Image]:
    """Pictures of several shapes, smooth and sharp, so that a shift by a pixel or another filter shows."""
    random = np.random.default_rng(0)
    channels, height, width = input_size
    made = []
    for wide, high in _SHAPES:
        w, h = max(2, int(width * wide)), max(2, int(height * high))
        coarse = Image.fromarray(random.integers(0, 256, (h // 8 + 2, w // 8 + 2, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC), np.float64)
        noisy = 0.75 * smooth + random.uniform(0, 64, (h, w, 3))
        made.append(Image.fromarray(noisy.astype(np.uint8)).convert("L" if channels == 1 else "RGB"))
    return made


def _why(settings: dict[str, Any]) -> str:
    """The settings that say so, for people."""
    said = {key: settings[key] for key in _TELLING if settings.get(key) not in (None, {}) and key in settings}
    return ", ".join(f"{key} {str(value)[:60]}" for key, value in said.items()) or "its settings do not say more"
