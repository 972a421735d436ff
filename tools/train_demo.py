"""Train the demo model: a small timm VisionTransformer on scikit-learn's handwritten digits.

Writes into ``examples/digits/``:

- ``digits_vit.pt``, or that of another ``--model``: ``{"arch", "model_kwargs", "pretrained_cfg", "state_dict"}``, the
  weights in float16;
- ``calib/<class>/*.png``: 100 images of the training split;
- ``val/<class>/*.png``: the 300 held-out images.

The images are written at the model's input size and ``pretrained_cfg`` sets ``crop_pct`` to 1, so timm's evaluation
transform leaves their pixels alone: what the model is trained on is what a user of the files feeds it.
Deterministic for a seed on one machine. About one minute on two cores.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

OUT = Path(__file__).resolve().parent.parent / "examples" / "digits"
SIZE = 32
CLASSES = 10
HELD_OUT = 300
CALIBRATION = 100
BATCH = 64
LEARNING_RATE = 2e-3
SIZES = {"img_size": SIZE, "num_classes": CLASSES}
VIT = {**SIZES, "patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 4}
SWIN = {**SIZES, "patch_size": 2, "window_size": 4, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "distilled": ("deit_tiny_distilled_patch16_224", VIT),
    "swin": ("swin_tiny_patch4_window7_224", SWIN),
}
"""timm's architecture and its arguments, by the name that `--model` takes; the demo is `vit`."""
PRETRAINED_CFG = {
    "input_size": (3, SIZE, SIZE),
    "num_classes": CLASSES,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
}


def enlarge(digits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn (n, 8, 8) intensities of 0..16 into (n, SIZE, SIZE) grey pixels of 0..255, bicubic."""
    small = np.rint(digits * (255 / 16)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(d).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for d in small])


def normalise(pixels: NDArray[np.uint8]) -> Tensor:
    """Preprocess as `PRETRAINED_CFG` says: (n, SIZE, SIZE) grey bytes to (n, 3, SIZE, SIZE) float32."""
    grey = torch.from_numpy(pixels).float() / 255
    return ((grey - 0.5) / 0.5)[:, None].expand(-1, 3, -1, -1).contiguous()


def jitter(images: Tensor) -> Tensor:
    """Turn, scale and shift every image a little at random: up to 10 degrees, 10 % and 2 pixels."""
    n = len(images)
    angle = torch.empty(n).uniform_(-10, 10).deg2rad()
    scale = torch.empty(n).uniform_(0.9, 1.1)
    shift = torch.empty(n, 2, 1).uniform_(-4 / SIZE, 4 / SIZE)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = functional.affine_grid(torch.cat([turn, shift], 2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train(model: nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int) -> None:
    """Train in place with AdamW and a one-cycle learning rate."""
    images, targets = normalise(pixels), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=steps)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images)), BATCH):
            loss = functional.cross_entropy(model(jitter(images[batch])), targets[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {total / len(images):.4f}", flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Top-1 accuracy, 0..1."""
    model.eval()
    return float((model(normalise(pixels)).argmax(1).numpy() == labels).mean())


def save_images(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write ``<folder>/<class>/<number>.png``, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / str(label) / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model and write its checkpoint and images.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--model", choices=MODELS, default="vit")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = time.time()
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    pixels, labels = enlarge(digits.images), digits.target.astype(np.int64)
    split = train_test_split(pixels, labels, test_size=HELD_OUT, stratify=labels, random_state=args.seed)
    train_pixels, val_pixels, train_labels, val_labels = split

    arch, arguments = MODELS[args.model]
    model = timm.create_model(arch, **arguments)
    train(model, train_pixels, train_labels, args.epochs)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    print(f"held-out top-1 {accuracy(model, val_pixels, val_labels):.2%} of {HELD_OUT}, {time.time() - start:.0f} s")

    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = {"arch": arch, "model_kwargs": arguments, "pretrained_cfg": PRETRAINED_CFG, "state_dict": state}
    torch.save(checkpoint, args.out / f"digits_{args.model}.pt")
    _, calib_pixels, _, calib_labels = train_test_split(
        train_pixels, train_labels, test_size=CALIBRATION, stratify=train_labels, random_state=args.seed
    )
    save_images(args.out / "calib", calib_pixels, calib_labels)
    save_images(args.out / "val", val_pixels, val_labels)


if __name__ == "__main__":
    main()
