"""`args` beside the weights: the options of timm's training script, which say how the model was made and fed.

`train.py` of timm stores its own command line: a Namespace, or a dict where somebody converted it. It builds the model
with `model_kwargs`, `gp` (as `global_pool`), `num_classes`, `in_chans` and `bn_eps`, and resolves what an image goes
through from `input_size` or `img_size`, `mean`, `std`, `interpolation`, `crop_pct` and `crop_mode` before it looks at
the model's own configuration (`timm.data.resolve_data_config`). None, an empty text and a crop of 0 mean "not given".
Other scripts (DeiT, MAE) have one number as `input_size`, and `eval_crop_ratio`.

All of it is a stranger's word: only these keys are read, and only values of their kind are believed.
"""

import argparse
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mptq_export.load.file.plain_makers import kind_of
from mptq_export.load.inputs import option_of
from mptq_export.support.errors import MptqError

SOURCE = "the checkpoint's args"
#: What `timm.create_model` calls an argument, and what `args` call it.
_BUILDS = {"global_pool": "gp", "bn_eps": "bn_eps"}
_MANY = 64
"""Most numbers in a list that is read."""


@dataclass(frozen=True)
class TrainingArgs:
    """What `args` say, by the names of this package; empty where there are none.

    Attributes:
        path: the checkpoint, for messages.
        values: the values as stored, of keys that are known and given.
        warnings: what cannot be followed, a sentence each.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def model_kwargs(self) -> dict[str, Any]:
        """Arguments of `timm.create_model` that no tensor contradicts: to be checked like any of a checkpoint.

        Raises:
            MptqError: they are no dict.
        """
        stored = self.values.get("model_kwargs", {})
        if isinstance(stored, argparse.Namespace):
            stored = vars(stored)
        if not isinstance(stored, Mapping):
            raise MptqError(
                f"{self.path}: its args have a {type(stored).__name__} as model_kwargs, not a dict; save it "
                "without, and give them with --model-kwargs"
            )
        named = {name: self.values[key] for name, key in _BUILDS.items() if key in self.values}
        return {**named, **stored}

    def number_of(self, part: str) -> Any:
        """`num_classes` or `in_chans`.

        Raises:
            MptqError: it is no whole number above 0.
        """
        for key in {"in_chans": ("in_chans", "chans"), "num_classes": ("num_classes",)}[part]:
            if key in self.values:
                return self._read(key, part, _whole)
        stored = self.values.get("input_size")
        return (
            self._read("input_size", part, _first) if part == "in_chans" and isinstance(stored, list | tuple) else None
        )

    @property
    def img_size(self) -> tuple[int, int] | None:
        """(height, width) of training; None where it is not said.

        Raises:
            MptqError: it is no size.
        """
        key = next((key for key in ("input_size", "img_size") if key in self.values), None)
        return None if key is None else self._read(key, "img_size", _size)

    def part(self, name: str) -> Any:
        """`mean`, `std`, `interpolation`, `crop_pct` or `crop_mode`; None where it is not said.

        Raises:
            MptqError: it is of another kind.
        """
        kinds = {"mean": _numbers, "std": _numbers, "crop_pct": _number, "interpolation": _text, "crop_mode": _text}
        keys = ("crop_pct", "eval_crop_ratio") if name == "crop_pct" else (name,)
        key = next((key for key in keys if key in self.values), None)
        return None if key is None else self._read(key, name, kinds[name])

    def flag(self, name: str) -> Any:
        """Any other value, as stored."""
        return self.values.get(name)

    def _read(self, key: str, part: str, read: Callable[[Any], Any]) -> Any:
        try:
            return read(self.values[key])
        except (TypeError, ValueError, OverflowError, IndexError) as error:
            mend = "--model-kwargs" if part == "num_classes" else option_of(part)
            raise MptqError(
                f"{self.path}: its args have {key} {reprlib.repr(self.values[key])[:80]}, which is no {part}; overrule "
                f"it with {mend}"
            ) from error


_KEYS = (
    *("model_kwargs", "gp", "bn_eps", "num_classes", "in_chans", "chans", "img_size", "input_size", "mean", "std"),
    *("interpolation", "crop_pct", "eval_crop_ratio", "crop_mode", "input_img_mode", "model_ema", "class_map"),
)


def read_args(path: Path, stored: object) -> TrainingArgs:
    """What the known keys of `args` hold; nothing is looked at closer before it is needed.

    Args:
        path: the checkpoint, for messages.
        stored: a Namespace or a mapping; None where the checkpoint has no `args`.
    """
    if stored is None:
        return TrainingArgs(path)
    if isinstance(stored, argparse.Namespace):
        stored = vars(stored)
    if not isinstance(stored, Mapping):
        told = f"the checkpoint's args are a {kind_of(stored)}, neither a dict nor a Namespace: they were not read"
        return TrainingArgs(path, warnings=(told,))
    values = {key: stored[key] for key in _KEYS if _is_given(stored.get(key))}
    warnings = []
    if _is_training_only(values.get("interpolation")):
        taken = reprlib.repr(values.pop("interpolation"))
        warnings.append(
            f"the checkpoint's args have interpolation {taken}, which only training can use; it was not read"
        )
    return TrainingArgs(path, values, tuple(warnings))


def _is_given(value: object) -> bool:
    if isinstance(value, list | tuple | str | Mapping):
        return len(value) > 0
    return value is not None and value is not False and not (isinstance(value, int | float) and value == 0)


def _is_training_only(value: object) -> bool:
    """`random`, or filters to draw from ("bilinear,bicubic")."""
    if isinstance(value, list | tuple):
        return True
    names = {name.lower() for name in Image.Resampling.__members__}
    if not isinstance(value, str) or value.lower() in names:
        return False
    return value.lower() == "random" or all(part.strip().lower() in names for part in value.replace(",", " ").split())


def _number(value: Any) -> float:
    if isinstance(value, bool | str | bytes) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError("no number")
    if not math.isfinite(value):
        raise ValueError("not finite")
    return float(value)


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number) or not 0 < number <= 2**16:
        raise ValueError("not a whole number from 1 to 65536")
    return int(number)


def _first(value: Any) -> int:
    if len(value) != 3:
        raise ValueError("not three numbers")
    return _whole(value[0])


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple):
        return _whole(value), _whole(value)
    if len(value) not in (2, 3):
        raise ValueError("neither (height, width) nor (channels, height, width)")
    return _whole(value[-2]), _whole(value[-1])


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        return (_number(value),)
    if len(value) > _MANY:
        raise ValueError("too many numbers")
    return tuple(_number(each) for each in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
