"""Scenes as a COCO data set: the annotations as one dictionary, or a folder with images."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tools.scenes.digits import CLASSES, Split, split_digits
from tools.scenes.draw import SIZE, Scenes, draw

#: How many are drawn at a time; part of what a seed means.
CHUNK = 50
ANNOTATIONS = "annotations.json"
SPLIT_SEEDS: dict[Split, int] = {"train": 0, "test": 1}


def drawn(count: int, split: Split, seed: int) -> list[Scenes]:
    """So many scenes of a split and a seed, drawn on the CPU, CHUNK at a time (the last cut short)."""
    digits = split_digits(split)
    generator = torch.Generator().manual_seed(2 * seed + SPLIT_SEEDS[split])
    scenes = [draw(CHUNK, digits, generator) for _ in range(-(-count // CHUNK))]
    rest = count - CHUNK * (len(scenes) - 1)
    if scenes:
        last = scenes[-1]
        scenes[-1] = Scenes(
            last.images[:rest], last.counts[:rest], last.labels[:rest], last.boxes[:rest], last.masks[:rest]
        )
    return scenes


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as COCO's uncompressed run lengths: down the columns, the first run of zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff(starts, prepend=0, append=mask.size).tolist()}


def annotations(scenes: list[Scenes], suffix: str = "png") -> dict[str, Any]:
    """The data set as `annotations.json` has it; category ids are 1..10 for the digits 0..9, image ids start at 1."""
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for part in scenes:
        labels, boxes, masks = part.labels.tolist(), part.boxes.tolist(), part.masks.numpy()
        for row, count in enumerate(part.counts):
            number = len(images) + 1
            images.append({"id": number, "file_name": f"{number:06d}.{suffix}", "height": SIZE, "width": SIZE})
            for place in range(count):
                left, top, right, bottom = boxes[row][place]
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": number,
                        "category_id": labels[row][place] + 1,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": int(masks[row, place].sum()),
                        "iscrowd": 0,
                        "segmentation": run_lengths(masks[row, place]),
                    }
                )
    categories = [{"id": number + 1, "name": str(number), "supercategory": "digit"} for number in range(CLASSES)]
    return {"images": images, "annotations": objects, "categories": categories}


def write(folder: Path, scenes: list[Scenes], suffix: Literal["png", "jpg"]) -> None:
    """Write `annotations.json` and the images under `images/`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    data = annotations(scenes, suffix)
    pixels = np.concatenate([part.images.permute(0, 2, 3, 1).numpy() for part in scenes])
    for entry, image in zip(data["images"], pixels, strict=True):
        options = {"quality": 90} if suffix == "jpg" else {"optimize": True}
        Image.fromarray(image).save(folder / "images" / entry["file_name"], **options)
    (folder / ANNOTATIONS).write_text(json.dumps(data, separators=(",", ":")) + "\n")
