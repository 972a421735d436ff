"""What the commands read out of an option's text."""

import math
import re
from typing import get_args

import click

from mptq_export.recipe.outputs import OutputKind
from mptq_export.support.errors import MptqError

#: What Pillow and timm know, spelled out so that `--help` does not import them.
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


def parse_range(_context: click.Context, _parameter: click.Parameter, text: str | None) -> range | None:
    """Click callback of `--mixed-range`."""
    return None if text is None else range_from(text)


def range_from(text: str) -> range:
    """The widths that `LO-HI` names, both 2 to 8, or 16 as the widest.

    Raises:
        MptqError: it is something else.
    """
    match = re.fullmatch(r"([2-8])-([2-8]|16)", text.strip())
    if match is None or int(match[1]) >= int(match[2]):
        raise MptqError(f"--mixed-range {text} is not LO-HI with 2 <= LO < HI <= 8, for example 3-8")
    return range(int(match[1]), int(match[2]) + 1)


def parse_pins(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """Click callback of `--pin`: `PATTERN=W/A`.

    Raises:
        MptqError: one is something else.
    """
    pins: dict[str, tuple[int, int]] = {}
    for text in texts:
        pattern, found, widths = text.rpartition("=")
        if not found or not pattern:
            raise MptqError(f"--pin {text} is not PATTERN=W/A, for example --pin 'blocks.0.*=8/8'")
        pins[pattern] = bits_from(widths, "--pin")
    return pins


def parse_numbers(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Click callback of `--mean` and `--std`: one number or one a channel, with commas or spaces between.

    Raises:
        MptqError: it is something else.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise MptqError(f"{parameter.opts[0]} {text} is no list of numbers such as 0.485,0.456,0.406, or one for all")
    return numbers


def parse_size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Click callback of `--img-size`: one number, or height and width as `HxW`.

    Raises:
        MptqError: it is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[x, ]([1-9]\d{0,4}))?", text.strip())
    if match is None:
        raise MptqError(f"--img-size {text} is neither a number of pixels such as 224, nor HxW such as 256x192")
    return int(match[1]), int(match[2] or match[1])


def parse_bits(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    """Click callback of `--bits`."""
    return bits_from(text)


def bits_from(text: str, option: str = "--bits") -> tuple[int, int]:
    """Two widths from `W/A`, or from one number for both.

    Raises:
        MptqError: it is something else, or a width is not from 2 to 8 (16 for activations, which some targets take).
    """
    match = re.fullmatch(r"([2-8])(?:/([2-8]|16))?", text.strip())
    if match is None:
        raise MptqError(f"{option} {text} is not W/A with both widths from 2 to 8, for example 8/8, or 8 for both")
    return int(match[1]), int(match[2] or match[1])


def parse_width(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Click callback of `--residual-bits`."""
    return None if text is None else int(text)


def parse_outputs(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> dict[str, OutputKind | None] | None:
    """Click callback of `--outputs`: `NAME` or `NAME=KIND`, with commas between; the kind by the name.

    Raises:
        MptqError: it is something else, or a name comes twice.
    """
    if text is None:
        return None
    found: dict[str, OutputKind | None] = {}
    for part in text.split(","):
        name, said, kind = (each.strip() for each in part.partition("="))
        known = next((each for each in get_args(OutputKind) if each == kind), None)
        if not name or (said and known is None):
            kinds = ", ".join(get_args(OutputKind))
            raise MptqError(
                f"--outputs {text} is no list of NAME or NAME=KIND such as logits,boxes=values; kinds are {kinds}"
            )
        if name in found:
            raise MptqError(f"--outputs {text} names {name} twice; name each once")
        found[name] = known
    return found


def parse_features(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Click callback of `--features`: numbers with commas between, or nothing.

    Raises:
        MptqError: it is something else.
    """
    if text is None or not text:
        return None if text is None else ()
    if re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text) is None:
        raise MptqError(
            f"--features {text} is no list of blocks or stages such as 0,1,2,3 (write MODEL before --features)"
        )
    return tuple(int(part) for part in text.split(","))
