"""What the mistakes are made of: the digits, a tiny checkpoint, small folders of pictures, arrays."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_models import KINDS, MEAN, STD, images, pixels, tiny

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
ARCH, KWARGS = KINDS["vit"]
#: The least that an export can do: mistakes are found before it, or stand beside it.
QUICK = ("--method", "paper", "--count", 16)
#: Fewer inputs are warned of.
ENOUGH = 16


def checkpoint(folder: Path, name: str = "m.pt", **changes: Any) -> Path:
    """A tiny checkpoint as training scripts write it; None leaves an entry out."""
    content = {"arch": ARCH, "model_kwargs": KWARGS, "state_dict": dict(tiny("vit").state_dict())} | changes
    torch.save({key: value for key, value in content.items() if value is not None}, folder / name)
    return folder / name


def trained(folder: Path, *, arch: str = ARCH, model: dict[str, Any], **args: Any) -> Path:
    """What timm's training script leaves of a model: its tensors and the script's own options."""
    torch.manual_seed(1)
    made = timm.create_model(arch, **model)
    options = argparse.Namespace(model=arch, **{"model_kwargs": {}, "num_classes": KWARGS["num_classes"], **args})
    torch.save({"arch": arch, "state_dict": made.state_dict(), "args": options}, folder / "m.pt")
    return folder / "m.pt"


def untold(folder: Path, *, arch: str = ARCH, model: dict[str, Any]) -> Path:
    """The same tensors alone."""
    torch.manual_seed(1)
    torch.save(timm.create_model(arch, **model).state_dict(), folder / "m.pt")
    return folder / "m.pt"


def pictures(folder: Path, names: Sequence[str] = ("",), each: int = ENOUGH) -> Path:
    """Random pictures in folders of these names."""
    shots = iter(pixels("vit", each * len(names)).numpy())
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            Image.fromarray(next(shots)).save(folder / name / f"{number}.png")
    return folder


def arrays(path: Path, change: Any = lambda x: x, count: int = ENOUGH) -> Path:
    """Normalised inputs, changed."""
    np.save(path, change(images("vit", count).numpy()))
    return path


def raw(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """Back to pixels of 0..1."""
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (MEAN, STD))
    return np.asarray(normalised * std + mean, np.float32)


def normal(folder: Path) -> Path:
    """A tiny checkpoint that says how its images are normalised."""
    return checkpoint(folder, pretrained_cfg={"mean": MEAN, "std": STD, "crop_pct": 1.0})


def digits(folder: Path, names: Sequence[str] = tuple("0123456789"), each: int = 3) -> Path:
    """Pictures of the digits 0 to 9 in class folders of these names, in this order; '' leaves a digit out."""
    for digit, name in enumerate(names):
        if name:
            (folder / name).mkdir(parents=True)
            for path in sorted((DIGITS / "val" / str(digit)).iterdir())[:each]:
                shutil.copy(path, folder / name)
    return folder


def repainted(folder: Path, paint: Any, suffix: str) -> Path:
    """The digits with every picture made anew from its grey pixels."""
    for path in sorted(digits(folder).rglob("*.png")):
        grey = np.asarray(Image.open(path).convert("L"))
        path.unlink()
        paint(grey).save(path.with_suffix(suffix))
    return folder
