"""Masks in COCO's format, checked before C code reads them."""

from typing import Any

from mptq_export.data.coco.scenes import Segmentation

_FEWEST = 6
"""Numbers of a polygon: three corners."""
_FARTHEST = 2**15
"""Coordinates beyond it make pycocotools walk along lines for ever."""
_FIRST, _GROUP, _MORE, _SIGN = 48, 5, 32, 16
"""pycocotools writes a run in digits of five bits from the character 48 on; 32 says that more follow."""


def checked_mask(value: Any, size: tuple[int, int] | None) -> Segmentation | None:
    """A mask as it is, or None where it is none.

    Args:
        value: what stands as `segmentation`.
        size: (height, width) of the picture; None where it is not known: then only polygons are masks.
    """
    if isinstance(value, list):
        return value if value and all(map(_is_polygon, value)) else None
    if not isinstance(value, dict) or size is None or value.get("size") != list(size):
        return None
    counts = value.get("counts")
    runs = _runs_of(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return None
    return {"size": list(size), "counts": counts} if sum(runs) == size[0] * size[1] else None


def _is_polygon(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < _FEWEST or len(value) % 2:
        return False
    return all(type(number) in (int, float) and abs(number) <= _FARTHEST for number in value)  # not so NaN


def _runs_of(text: str) -> list[int] | None:
    """Lengths of runs from pycocotools' text: from the fourth on, differences to the last but one."""
    runs: list[int] = []
    number = shift = 0
    for char in text:
        digit = ord(char) - _FIRST
        if not 0 <= digit < 2 * _MORE:
            return None
        number |= (digit & (_MORE - 1)) << shift
        shift += _GROUP
        if digit & _MORE:
            continue
        if digit & _SIGN:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return None if shift else runs
