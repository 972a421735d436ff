"""COCO's average precision of boxes or masks, by pycocotools, and of each draw of pictures for its interval."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.coco.scenes import SceneObject
from mptq_export.evaluate.detection.cocotools import CocoTools, cocotools
from mptq_export.evaluate.detection.found import FoundObjects

Kind = Literal["box", "mask"]

_TYPES = {"box": "bbox", "mask": "segm"}
_ALL_SIZES = 0
_MOST = 100
"""Of a picture and category, the best are judged: COCO's largest `maxDets`."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's figures, as shares of 1; None where no object decides one.

    Attributes:
        ap: mean over categories and over thresholds of the intersection over union of 0.50, 0.55 ... 0.95.
        ap50: at 0.50 alone.
        ap75: at 0.75 alone.
        small: of objects below 32 x 32 pixels.
        medium: from there to 96 x 96 pixels.
        large: above.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None


@dataclass(frozen=True)
class Curve:
    """All that was found of one category, the best first: what its precision and recall are made of.

    Attributes:
        pictures: (D,) number of the picture of each detection.
        hits: (thresholds, D) whether it is an object.
        ignored: (thresholds, D) whether it counts neither way, as within a crowd.
        objects: (pictures,) how many objects there are to find.
    """

    pictures: NDArray[np.intp]
    hits: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """A detector on pictures whose objects are known.

    Attributes:
        figures: over all of them.
        by_category: AP of each category with objects, by its id.
        curves: of the categories with objects.
    """

    figures: AveragePrecision
    by_category: dict[int, float]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Truth:
    """What there is to find.

    Attributes:
        sizes: (height, width) of each picture.
        objects: on each picture.
        labels: the detector's label of each category, by id.
    """

    sizes: Sequence[tuple[int, int]]
    objects: Sequence[Sequence[SceneObject]]
    labels: Mapping[int, int]


def judge(truth: Truth, found: Sequence[FoundObjects], kind: Kind) -> Judged:
    """Judge what was found as COCO does.

    Args:
        truth: what there is, with masks for `mask`.
        found: on each picture, with masks for `mask`. What has a label of no category is not judged.
        kind: whether boxes or masks are compared.

    Raises:
        MptqError: pycocotools is not installed.
    """
    tools = cocotools()
    with contextlib.redirect_stdout(io.StringIO()):
        known, guesses = _data_set(tools, truth, _objects(truth, kind)), _found(tools, truth, found, kind)
        judging = tools.judge(known, guesses, _TYPES[kind])
        judging.params.imgIds = list(range(len(truth.sizes)))
        judging.params.catIds = sorted(truth.labels)
        judging.evaluate()
        judging.accumulate()
        judging.summarize()
    figures = [float(value) if value >= 0 else None for value in judging.stats[:6]]
    precision = judging.eval["precision"][:, :, :, _ALL_SIZES, -1]
    by_category = {
        int(number): float(precision[:, :, place].mean())
        for place, number in enumerate(judging.params.catIds)
        if (precision[:, :, place] >= 0).all()
    }
    return Judged(AveragePrecision(*figures), by_category, _curves(judging, len(truth.sizes)))


def mean_precision(curves: Sequence[Curve], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP where pictures count several times or not at all: (draws,); NaN where no picture with objects counts.

    What COCOeval computes for a data set with so many copies of each picture, without its loops: precision is the best
    at this recall or more, and read at 101 recalls. Of equal scores on one picture, all copies of the first come first.

    Args:
        curves: of every category.
        counts: (draws, pictures) how often each picture counts.
    """
    found = np.stack([_precision(curve, counts) for curve in curves])
    known = ~np.isnan(found)
    sums = np.where(known, found, 0).sum(0)
    mean: NDArray[np.float64] = np.divide(sums, known.sum(0), out=np.full(sums.shape, np.nan), where=known.any(0))
    return mean


def _precision(curve: Curve, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP of one category: (draws,)."""
    objects = counts @ curve.objects
    weights = counts[:, curve.pictures]
    all_so_far = np.cumsum(weights, 1)
    total = np.zeros(len(counts))
    for hits, ignored in zip(curve.hits, curve.ignored, strict=True):
        places = np.flatnonzero(hits & ~ignored)
        if not len(places):
            continue
        judged = all_so_far[:, places]
        lost = np.flatnonzero(ignored)
        if len(lost):
            so_far = np.cumsum(np.pad(weights[:, lost], ((0, 0), (1, 0))), 1)
            judged = judged - so_far[:, np.searchsorted(lost, places)]
        right = np.cumsum(weights[:, places], 1)
        precision = np.divide(right, judged, out=np.zeros_like(right), where=judged > 0)
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = np.divide(right, objects[:, None], out=np.zeros_like(right), where=objects[:, None] > 0)
        number = (100 * recall + _CLOSE).astype(np.intp)
        reached = number + (_RECALLS[number] <= recall)  # how many of the recalls are at most this one
        total += (best * np.diff(reached, prepend=0)).sum(1)
    found: NDArray[np.float64] = np.where(objects > 0, total / (len(curve.hits) * len(_RECALLS)), np.nan)
    return found


_RECALLS = np.linspace(0.0, 1.0, 101)
_CLOSE = 1e-9
"""A recall that is one of these 101 may be computed as a little less."""


def _curves(judging: Any, pictures: int) -> tuple[Curve, ...]:
    """What COCOeval found for each picture, category by category."""
    sizes = len(judging.params.areaRng)
    curves = []
    for place in range(len(judging.params.catIds)):
        start = (place * sizes + _ALL_SIZES) * pictures
        entries = judging.evalImgs[start : start + pictures]
        seen = [(picture, entry) for picture, entry in enumerate(entries) if entry is not None]
        objects = np.zeros(pictures)
        for picture, entry in seen:
            objects[picture] = np.sum(np.asarray(entry["gtIgnore"]) == 0)
        if not objects.any():
            continue
        scores = np.concatenate([entry["dtScores"][:_MOST] for _, entry in seen])
        order = np.argsort(-scores, kind="mergesort")
        of_pictures = np.concatenate([np.full(len(entry["dtScores"][:_MOST]), picture) for picture, entry in seen])
        hits, ignored = (
            np.concatenate([np.asarray(entry[key])[:, :_MOST] for _, entry in seen], 1)[:, order].astype(bool)
            for key in ("dtMatches", "dtIgnore")
        )
        curves.append(Curve(of_pictures[order].astype(np.intp), hits, ignored, objects))
    return tuple(curves)


def _data_set(tools: CocoTools, truth: Truth, annotations: list[dict[str, Any]]) -> Any:
    data = tools.coco()
    data.dataset = {
        "images": [{"id": number, "height": size[0], "width": size[1]} for number, size in enumerate(truth.sizes)],
        "categories": [{"id": number} for number in sorted(truth.labels)],
        # From 1 on: COCOeval takes the id 0 for "no object".
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, 1)],
    }
    data.createIndex()
    return data


def _objects(truth: Truth, kind: Kind) -> list[dict[str, Any]]:
    return [
        {
            "image_id": picture,
            "category_id": each.category,
            "bbox": list(each.box),
            "area": each.area,
            "iscrowd": int(each.crowd),
            **({"segmentation": each.segmentation} if kind == "mask" else {}),
        }
        for picture, objects in enumerate(truth.objects)
        for each in objects
        if each.category in truth.labels
    ]


def _found(tools: CocoTools, truth: Truth, found: Sequence[FoundObjects], kind: Kind) -> Any:
    categories = {label: number for number, label in truth.labels.items()}
    entries = []
    for picture, each in enumerate(found):
        sides = each.boxes.astype(np.float64)
        sides[:, 2:] -= sides[:, :2]
        for place, label in enumerate(each.labels.tolist()):
            if label not in categories:
                continue
            entry = {
                "image_id": picture,
                "category_id": categories[label],
                "score": float(each.scores[place]),
                "bbox": sides[place].tolist(),
                "area": float(sides[place, 2] * sides[place, 3]),
                "iscrowd": 0,
            }
            if kind == "mask":
                assert each.masks is not None
                entry |= {"segmentation": each.masks[place], "area": float(tools.mask.area(each.masks[place]))}
            entries.append(entry)
    return _data_set(tools, truth, entries)
