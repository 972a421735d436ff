"""Tiny folders in COCO's format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Entry = dict[str, Any]


def picture_file(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def content(pictures: int = 2, objects: list[Entry] | None = None) -> Entry:
    """What annotations say: pictures 1, 2 ... of 40 x 30 pixels, two categories."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in range(1, pictures + 1)
        ],
        "annotations": [one_object()] if objects is None else objects,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def one_object(number: int = 1, **changed: Any) -> Entry:
    """An object on picture 1."""
    said = {"id": number, "image_id": 1, "category_id": 1, "bbox": [4, 5, 10, 12], "area": 120.0, "iscrowd": 0}
    return said | changed


def scene_folder(path: Path, said: Entry, *, annotations: str = "annotations.json", pictures: str = ".") -> Path:
    """A folder with annotations and all pictures that they list."""
    file = path / annotations
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said), encoding="utf-8")
    for place, entry in enumerate(said["images"]):
        picture_file(path / pictures / entry["file_name"], entry.get("width", 40), entry.get("height", 30), place)
    return path
