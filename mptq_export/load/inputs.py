"""How a model's input is made: what the user says of it, and where each part of it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

#: The parts that are normalised or resampled, in the order of the summary; size and channels are the model's own.
PARTS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
_COLOURS = {1: "grey", 3: "RGB"}
_DEEPEST, _LONGEST, _LARGEST = 3, 64, 10**18


def option_of(part: str) -> str:
    """The option that sets a part."""
    return "--" + part.replace("_", "-")


@dataclass(frozen=True)
class InputOptions:
    """What the user says of the input; None where the checkpoint or the architecture shall say it.

    Attributes:
        mean: of pixels in 0..1, one for each channel or one for all.
        std: standard deviation of the same.
        img_size: (height, width) in pixels.
        interpolation: name of a resampling filter in PIL.
        crop_pct: cropped size over resized size.
        crop_mode: `center`, `squash`, `border` or `corner`.
        in_chans: channels of the input.

    Raises:
        MptqError: a size is not positive, or a list is empty.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    img_size: tuple[int, int] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    in_chans: int | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if getattr(self, name) == ():
                raise MptqError(f"{option_of(name)} has no number; give one, or one for each channel")
        if self.img_size is not None and (len(self.img_size) != 2 or min(self.img_size) < 1):
            raise MptqError(f"--img-size {self.img_size} is not a height and a width; give one number or HxW")
        if self.in_chans is not None and self.in_chans < 1:
            raise MptqError(f"--in-chans {self.in_chans} is no number of channels; give 1 or more")

    def given(self) -> dict[str, Any]:
        """What was said, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def words(self) -> list[str]:
        """The same as options of a command line."""
        words = []
        for name, value in self.given().items():
            parts = value if isinstance(value, tuple) else (value,)
            between = "x" if name == "img_size" else ","
            words += [option_of(name), between.join(str(part) for part in parts)]
        return words


def input_options(
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    img_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    in_chans: int | None = None,
) -> InputOptions:
    """`InputOptions` of plain values: one number stands for all channels, or for height and width.

    Raises:
        MptqError: a value is not of its kind.
    """
    try:
        return InputOptions(
            mean=_numbers(mean),
            std=_numbers(std),
            img_size=(img_size, img_size) if isinstance(img_size, int) else img_size and (img_size[0], img_size[1]),
            interpolation=interpolation,
            crop_pct=None if crop_pct is None else float(crop_pct),
            crop_mode=crop_mode,
            in_chans=in_chans,
        )
    except (TypeError, ValueError, IndexError) as error:
        raise MptqError(f"mean, std, img_size or crop_pct is no number or list of numbers ({error})") from error


def _numbers(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    return tuple(float(each) for each in value) if isinstance(value, tuple | list) else (float(value),)


def inputs_of(preprocessing: Preprocessing) -> InputOptions:
    """Options that give a model the same input once more."""
    channels, height, width = preprocessing.input_size
    parts = {part: getattr(preprocessing, part) for part in PARTS}
    return InputOptions(**parts, img_size=(height, width), in_chans=channels)


def values_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """Every part of the input by name, as `--json` has it."""
    channels, height, width = preprocessing.input_size
    return {
        "img_size": [height, width],
        "in_chans": channels,
        **{part: getattr(preprocessing, part) for part in PARTS},
    }


def input_text(preprocessing: Preprocessing, sources: Mapping[str, str]) -> str:
    """The input in one line, parts of one source together.

    Args:
        preprocessing: of the model.
        sources: where each part was read, by name; parts that are not in it were given with the model.
    """
    channels, height, width = preprocessing.input_size
    said = {
        "img_size": f"{height}x{width}",
        "in_chans": _COLOURS.get(channels, f"{channels} channels"),
        "mean": f"mean {short(preprocessing.mean)}",
        "std": f"std {short(preprocessing.std)}",
        "interpolation": preprocessing.interpolation,
        "crop_pct": f"crop {preprocessing.crop_pct:g}",
        "crop_mode": preprocessing.crop_mode,
    }
    grouped: dict[str, list[str]] = {}
    for part, text in said.items():
        grouped.setdefault(sources.get(part, "given with the model"), []).append(text)
    return "; ".join(f"{', '.join(texts)} ({source})" for source, texts in grouped.items())


def short(value: Any) -> str:
    """A value for people: one number where all channels have the same."""
    if isinstance(value, tuple | list):
        texts = [short(each) for each in value]
        return texts[0] if len(set(texts)) == 1 else " ".join(texts)
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a huge number"  # Python refuses to write some of them
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_options(model_kwargs: Mapping[str, Any], inputs: InputOptions) -> None:
    """Refuse two options that say different things of the input.

    Raises:
        MptqError: they do.
    """
    for name in ("img_size", "in_chans"):
        said, option = model_kwargs.get(name), getattr(inputs, name)
        if said is not None and option is not None and plain(name, said) != plain(name, option):
            raise MptqError(
                f"{option_of(name)} {shown(option)} and --model-kwargs with {name} {shown(said)} contradict "
                "each other; leave one out"
            )


def plain(name: str, value: Any, depth: int = 0) -> Any:
    """A value in a form that compares: one number for all channels, or for height and width, is no other value.

    It may be a stranger's: of deep or long lists only the beginning is looked at.
    """
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        parts = tuple(plain(name, each, depth + 1) for each in value[:_LONGEST])
        alike = name in ("mean", "std", "img_size") and len(set(parts)) == 1
        return parts[0] if alike else parts
    if isinstance(value, str):
        return value.lower()
    return value if isinstance(value, int | float) else type(value).__name__


def shown(value: Any) -> str:
    """A stranger's value for people: short, whatever it is."""
    return short(value)[:80] if isinstance(value, int | float | str) or _is_flat(value) else repr(type(value).__name__)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) < 9 and all(isinstance(n, int | float | str) for n in value)
