"""Arrays that are not what the model takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import images

from .feeding import QUICK, arrays, normal, raw
from .table import Command, Mistake


def given(change: Callable[[Any], Any], *arguments: object) -> Callable[[Path], Command]:
    return lambda folder: ["export", normal(folder), "--calib", arrays(folder / "x.npy", change), *QUICK, *arguments]


def packed(**others: Any) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        np.savez(folder / "x.npz", **others)
        return ["export", normal(folder), "--calib", folder / "x.npz", *QUICK, "-o", folder / "m.mptq.onnx"]

    return feed


def replaced(folder: Path) -> Command:
    return [*given(lambda x: x)(folder), "-o", folder / "x.npy", "--force"]


ARRAYS = (
    Mistake("a file over its calibration inputs", replaced, "refused", ("x.npy", "choose another -o")),
    Mistake("pixels of 0 to 255", given(lambda x: raw(x) * 255), "refused", ("0..255", "--any-range")),
    Mistake("pixels of 0 to 1", given(raw), "refused", ("0..1", "--any-range")),
    Mistake("bytes", given(lambda x: (raw(x) * 255).astype(np.uint8)), "refused", ("uint8", "mean")),
    Mistake("channels last", given(lambda x: x.transpose(0, 2, 3, 1)), "refused", ("channels are last",)),
    Mistake("one input without a batch", given(lambda x: x[0]), "refused", ("one input",)),
    Mistake("another size", given(lambda x: x[:, :, ::2, ::2]), "refused", ("--img-size",)),
    Mistake("NaN among the inputs", given(lambda x: np.where(x > 1, np.nan, x)), "refused", ("NaN",)),
    Mistake("three inputs", given(lambda x: x[:3]), "told", ("3 inputs", "16")),
    Mistake(
        "labels beside the inputs",
        packed(labels=np.arange(16), images=images("vit", 16).numpy()),
        "right",
        ("array images",),
    ),
    Mistake(
        "labels before the inputs",
        packed(labels=np.arange(16), x=images("vit", 16).numpy()),
        "refused",
        ("array labels",),
    ),
)
