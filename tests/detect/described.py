"""Detectors for tests, described as their files do it, and outputs of networks that do not exist."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.detector import Detector, Level, Pooling, Regions, Selection

IMAGE = (96, 128)
SIZES = ((12, 16), (6, 8), (3, 4))
NAMES = ("3", "4", "5")


def levels(sides: tuple[float, ...] = (16.0, 32.0, 64.0), ratios: tuple[float, ...] = (1.0,)) -> tuple[Level, ...]:
    """Three levels of strides 8, 16 and 32, with an anchor of each height by width."""
    found = []
    for name, size, side in zip(NAMES, SIZES, sides, strict=True):
        halves = [(round(side / r**0.5 / 2), round(side * r**0.5 / 2)) for r in ratios]
        anchors = tuple((-float(w), -float(h), float(w), float(h)) for w, h in halves)
        found.append(Level(name, size, (IMAGE[0] // size[0], IMAGE[1] // size[1]), anchors))
    return tuple(found)


FCOS = Detector("fcos", "network", IMAGE, 4, None, Selection(0.2, 100, 0.6, 20), levels())
RETINANET = replace(
    FCOS, family="retinanet", levels=levels(ratios=(0.5, 1.0, 2.0)), selection=Selection(0.05, 100, 0.5, 30)
)
SET = Detector("set", "network", IMAGE, 4, None, Selection(0.3, 1, 1.0, 15))
_POOLING = Pooling(NAMES, (1 / 8, 1 / 16, 1 / 32), (7, 7), 2, 56, 4)
RCNN = Detector(
    "rcnn",
    "proposals",
    IMAGE,
    4,
    ("a", "b", "c", "d"),
    Selection(0.0, 80, 0.7, 60),
    levels(ratios=(0.5, 1.0, 2.0)),
    smallest=1e-3,
    regions=Regions((10.0, 10.0, 5.0, 5.0), _POOLING, replace(_POOLING, size=(14, 14)), Selection(0.2, 1, 0.5, 25)),
)


def outputs(detector: Detector, batch: int, seed: int, channels: int = 8) -> dict[str, NDArray[np.float32]]:
    """Random outputs of a detector's first network, in the layout of its files."""
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return draw.normal(size=shape).astype(np.float32)

    if detector.family == "set":
        return {"logits": 2 * normal(batch, 20, 5), "pred_boxes": draw.random((batch, 20, 4), np.float32)}
    found = {}
    for level in detector.levels:
        count = level.size[0] * level.size[1] * len(level.anchors)
        if detector.family == "rcnn":
            found[f"objectness.{level.name}"] = 3 * normal(batch, count, 1)
            found[f"deltas.{level.name}"] = 0.5 * normal(batch, count, 4)
            found[f"features.{level.name}"] = normal(batch, channels, *level.size)
            continue
        found[f"scores.{level.name}"] = 2 * normal(batch, count, detector.classes) - 1
        found[f"boxes.{level.name}"] = normal(batch, count, 4) * np.float32(0.4)
        if detector.family == "fcos":
            found[f"boxes.{level.name}"] = np.abs(found[f"boxes.{level.name}"]) + np.float32(0.2)
            found[f"centerness.{level.name}"] = normal(batch, count, 1)
    return found
