"""What does an export of a large model take, and how does it grow with images and with width?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tools.figures.bench import Bench, Facts
from tools.figures.models import Model
from tools.figures.show import markdown_table
from tools.figures.table import Document, Figures, Row, Table

#: Shapes of DINOv2 with random weights, at 224 pixels: time and memory hardly depend on what the weights are.
LARGE = {
    "vit_small_patch14_dinov2": "DINOv2-S",
    "vit_base_patch14_dinov2": "DINOv2-B",
    "vit_large_patch14_dinov2": "DINOv2-L",
    "vit_giant_patch14_dinov2": "DINOv2-g",
}
IMAGES = (32, 64, 128)
_SIZE = 224

#: Whose calibration images they are quantized on.
_IMAGES_OF = "vit_small"


def rows(models: Sequence[Model]) -> list[Row]:
    """One for every shape and number of images; of the largest with all images alone."""
    found = next((model.calib for model in models if model.key == _IMAGES_OF), None)
    if found is None:
        return []
    *most, largest = LARGE
    wanted = [(arch, images) for arch in most for images in IMAGES] + [(largest, IMAGES[-1])]
    return [Row(f"{arch} {n}", arch, partial(_measured, arch=arch, images=n, calib=found)) for arch, n in wanted]


def _measured(bench: Bench, arch: str, images: int, calib: Path) -> Figures:
    made = bench.once(f"{arch}-weights", lambda out: _weights(bench, arch, out.with_suffix(".pt")))
    out = bench.folder / f"{arch}-{images}.onnx"
    calibrated = ("--calib", calib, "--count", images)
    exported = bench.exported_to(out, (made["path"], *calibrated, "--bits", "8/8"))
    device = bench.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return {"model": arch, "calibration_images": images, "device": device, **exported.facts}


def _weights(bench: Bench, arch: str, path: Path) -> Facts:
    bench.commands.module("tools.bench.random_checkpoint", arch, path, "--img-size", _SIZE, log=path.stem)
    return {"path": str(path)}


def markdown(document: Document) -> str:
    """A row an export."""
    head = (
        "shapes",
        "images",
        "device",
        "threads",
        "export",
        "peak memory",
        "bytes",
        "values that differ, float matmuls",
    )
    return markdown_table(
        head,
        [
            (
                LARGE[row["model"]],
                str(row["calibration_images"]),
                row["device"].partition(":")[0],
                str(row["threads"]),
                f"{row['seconds']:,.0f} s",
                f"{row['peak_mb'] / 1e3:.2f} GB",
                f"{row['bytes']:,}",
                f"{row['differing']:,} of {row['values']:,}, {row['float_matmuls']}",
            )
            for row in document.rows
        ],
    )


TABLE = Table("large", rows, markdown)
