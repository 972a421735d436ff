"""A folder in COCO's format, read and checked: what is wrong is refused or counted, never judged in silence."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mptq_export.data.coco.layout import find_pictures, is_there
from mptq_export.data.coco.masks import checked_mask
from mptq_export.data.coco.scenes import CocoFolder, Counted, Scene, SceneObject
from mptq_export.support.errors import MptqError

_PARTS = ("images", "annotations", "categories")
_BEYOND = 1.0
_LARGEST, _LARGEST_ID = 2**24, 2**53


def read_coco(data: Path, annotations: Path) -> CocoFolder:
    """Read annotations and find their pictures.

    Args:
        data: the folder that the user named.
        annotations: the file (see `layout.find_annotations`).

    Raises:
        MptqError: the file is not in COCO's format, says something twice in different ways, or its pictures are not
            there.
    """
    content = _content(annotations)
    categories = dict(_categories(annotations, content["categories"]))
    pictures = _pictures(annotations, content["images"])
    folder = find_pictures(data, annotations, [picture.name for picture in pictures.values()])
    scenes = {number: Scene(folder / picture.name, picture.size) for number, picture in pictures.items()}
    missing = {number for number, scene in scenes.items() if not is_there(scene.file)}
    counts: Counter[str] = Counter()
    objects = tuple(_objects(annotations, content["annotations"], scenes, categories, counts))
    lost = {scenes[number].file for number in missing}
    return CocoFolder(
        annotations,
        folder,
        tuple(scene for number, scene in scenes.items() if number not in missing),
        tuple(each for each in objects if each.file not in lost),
        categories,
        Counted(**counts, missing=len(missing)),
        tuple(pictures[number].name for number in sorted(missing)),
    )


class _Picture(NamedTuple):
    name: str
    size: tuple[int, int] | None


def _content(annotations: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(annotations.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MptqError(f"{annotations} cannot be read as JSON ({error}); give annotations in COCO's format") from error
    lacking = [part for part in _PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if lacking:
        raise MptqError(
            f"{annotations} has no list of {lacking[0]}; give annotations in COCO's format (instances_*.json)"
        )
    for part in _PARTS:
        for entry in content[part]:
            if not isinstance(entry, dict):
                raise MptqError(f"{annotations}: {str(entry)[:40]!r} among its {part} is no object in JSON's sense")
    if not content["images"]:
        raise MptqError(f"{annotations} lists no pictures; name annotations of some")
    return {part: content[part] for part in _PARTS}


def _categories(annotations: Path, entries: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    seen: dict[int, str] = {}
    for entry in entries:
        number, name = _whole(annotations, "category", entry, "id"), entry.get("name")
        if not isinstance(name, str):
            raise MptqError(f"{annotations}: category {number} has no name; give it one")
        if number in seen:
            raise MptqError(f"{annotations}: categories {seen[number]} and {name} have the same id {number}")
        seen[number] = name
        yield number, name


def _pictures(annotations: Path, entries: list[dict[str, Any]]) -> dict[int, _Picture]:
    """Pictures by id."""
    found: dict[int, _Picture] = {}
    ids: dict[str, int] = {}
    for entry in entries:
        number, name = _whole(annotations, "picture", entry, "id"), entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise MptqError(f"{annotations}: picture {number} has no file_name")
        if number in found:
            raise MptqError(
                f"{annotations}: pictures {found[number].name} and {name} have the same id {number}: whose an "
                "object is cannot be known; give each its own"
            )
        if ids.setdefault(name, number) != number:
            raise MptqError(f"{annotations}: pictures {ids[name]} and {number} are both {name}; list it once")
        found[number] = _Picture(name, _size(annotations, number, entry))
    return found


def _size(annotations: Path, number: int, entry: dict[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if height is None and width is None:
        return None
    if not all(type(edge) is int and 0 < edge < _LARGEST for edge in (height, width)):
        raise MptqError(f"{annotations}: picture {number} is {width} x {height} pixels, which no picture is")
    return int(str(height)), int(str(width))


def _objects(
    annotations: Path,
    entries: list[dict[str, Any]],
    scenes: dict[int, Scene],
    categories: dict[int, str],
    counts: Counter[str],
) -> Iterator[SceneObject]:
    """Objects that can be judged; the others are counted."""
    ids, texts = set[int | str](), set[str]()
    for place, entry in enumerate(entries):
        box, crowd = _box(annotations, place, entry), entry.get("iscrowd", 0)
        picture, category = (_whole(annotations, f"object {place}", entry, key) for key in ("image_id", "category_id"))
        if crowd not in (0, 1):
            raise MptqError(f"{annotations}: iscrowd of object {place} is {str(crowd)[:40]}, not 0 or 1")
        number, text = entry.get("id"), json.dumps(entry, sort_keys=True)
        repeated, same_id = False, False
        if isinstance(number, int | str):
            repeated, same_id = text in texts, number in ids
            texts.add(text)
            ids.add(number)
        fault = "repeated" if repeated else _fault(box, scenes.get(picture), category in categories)
        if fault is not None:
            counts[fault] += 1
        if fault not in (None, "beyond"):
            continue
        counts["same_ids"] += same_id
        scene = scenes[picture]
        mask = checked_mask(entry.get("segmentation"), scene.size)
        yield SceneObject(scene.file, category, box, _area(annotations, place, entry, box), bool(crowd), mask)


def _fault(box: tuple[float, float, float, float], scene: Scene | None, known: bool) -> str | None:
    """Under which name of `Counted` an object is counted; None where all is well."""
    if scene is None:
        return "without_picture"
    if not known:
        return "without_category"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "empty_boxes"
    bottom, right = scene.size or (math.inf, math.inf)
    if x >= right or y >= bottom or x + width <= 0 or y + height <= 0:
        return "outside"
    if min(x, y) < -_BEYOND or x + width > right + _BEYOND or y + height > bottom + _BEYOND:
        return "beyond"
    return None


def _box(annotations: Path, place: int, entry: dict[str, Any]) -> tuple[float, float, float, float]:
    box = entry.get("bbox")
    if box is None:
        raise MptqError(
            f"{annotations}: object {place} has no bbox; name annotations of objects (instances_*.json), not captions"
        )
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise MptqError(f"{annotations}: the bbox of object {place} is {str(box)[:60]}, not four numbers x, y, w, h")
    x, y, width, height = map(float, box)
    return x, y, width, height


def _area(annotations: Path, place: int, entry: dict[str, Any], box: tuple[float, float, float, float]) -> float:
    area = entry.get("area")
    if area is None:
        return box[2] * box[3]
    if not _is_number(area) or area < 0:
        raise MptqError(f"{annotations}: the area of object {place} is {str(area)[:40]}, no number of pixels")
    return float(area)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST**2  # not so NaN


def _whole(annotations: Path, what: str, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int or abs(value) > _LARGEST_ID:
        raise MptqError(f"{annotations}: {key} of a {what} is {str(value)[:40]!r}, not a whole number")
    return value
