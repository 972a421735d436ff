"""Small image folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mptq_export.data.preprocessing import Preprocessing


@pytest.fixture
def preprocessing() -> Preprocessing:
    """12x12 pixels, cropped from 16x16."""
    return Preprocessing((3, 12, 12), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.75, "center")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, one of them nested, of three and five images; image i of all is grey of brightness 10 * i."""
    path = tmp_path / "images"
    names = [
        "cat/0.png",
        "cat/1.jpg",
        "cat/2.png",
        *(f"dog/sub/{i}.png" for i in range(3, 6)),
        "dog/t.JPEG",
        "dog/u.png",
    ]
    for number, name in enumerate(names):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 10 * number, np.uint8)).save(file)
    (path / "cat" / "notes.txt").write_text("not an image")
    (path / "cat" / ".hidden.png").write_text("not an image")
    return path
