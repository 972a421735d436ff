"""The pixels that are made here against those of transformers' own image processors, on two photographs.

    python -m tools.processors

prints a table: for each processor and each of its backends the largest and the mean difference, in levels of 255, and
the share of values that differ. The photographs come with scikit-learn; each is taken whole, turned, and cropped to odd
sides.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.transformers.folder import PREPROCESSOR, Folder
from mptq_export.load.transformers.processor import load_processor, understand

#: As they are on the hub, where that is not what the class does by itself.
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViTImageProcessor": {},
    "DeiTImageProcessor": {},
    "BeitImageProcessor": {},
    "BitImageProcessor": {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
    "DINOv3ViTImageProcessor": {},
    "CLIPImageProcessor": {},
    "SiglipImageProcessor": {},
    "SegformerImageProcessor": {},
    "DPTImageProcessor": {},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 224}},
    "PvtImageProcessor": {},
}
_SAME = 1e-3
"""Levels below which only float32 rounds otherwise."""


def main() -> None:
    """Print the table."""
    transformers.utils.logging.set_verbosity_error()
    print("| processor | backend | largest difference | mean | values that differ |\n|---|---|---|---|---|")
    for name, settings in PROCESSORS.items():
        with tempfile.TemporaryDirectory() as folder:
            content = json.dumps({"image_processor_type": name, **settings})
            (Path(folder) / PREPROCESSOR).write_text(content, encoding="utf-8")
            ours = understand(load_processor(transformers, Folder(Path(folder))), 3, folder).preprocessing
            shown = set()
            for backend in ("pil", "torchvision"):
                own = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
                if own.backend not in shown:
                    shown.add(own.backend)
                    found = np.concatenate([differences(own, ours, picture) for picture in photographs()])
                    largest, differ = found.max(initial=0), np.mean(found > _SAME)
                    print(f"| {name} | {own.backend} | {largest:.1f} | {found.mean():.3f} | {differ:.1%} |")


def photographs() -> list[Image.Image]:
    """Wide ones, tall ones, and some of odd sides."""
    wide = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    turned = [picture.rotate(90, expand=True) for picture in wide]
    return [*wide, *turned, *(picture.crop((10, 20, 411, 333)) for picture in wide)]


def differences(own: Any, ours: Preprocessing, picture: Image.Image) -> NDArray[np.float64]:
    """Of all values of one picture, in levels."""
    theirs = np.asarray(own(images=picture, return_tensors="np")["pixel_values"], np.float64)[0]
    made = ours.normalize(ours.transform_uint8(picture)[None])[0]
    levels: NDArray[np.float64] = np.abs(theirs - made) * 255 * np.array(ours.std)[:, None, None]
    return levels.ravel()


if __name__ == "__main__":
    main()
