"""Train a detector of `examples/detection` on scenes of digits, and say its AP on scenes of other digits.

    python -m tools.train_detection fcos --minutes 8 --out examples/detection

writes FOLDER/NAME.safetensors (the moving average of the weights, float16) and FOLDER/NAME.json (how it was made, and
its figures). Scenes are drawn anew for every step, on the device that trains. With `--minutes` the learning rate
follows the clock and the training ends in time, evaluation aside; with `--steps` it follows the steps, which makes a
run repeatable on one machine. Scenes of digits are no COCO: their AP says what quantization costs, nothing else.
"""

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.detectors.average import AveragedWeights
from tools.detectors.torchvision_losses import fcos_loss, mask_rcnn_loss
from tools.detectors.yolos_loss import YolosTraining, yolos_loss
from tools.scenes.coco import drawn
from tools.scenes.digits import split_digits
from tools.scenes.draw import Scenes, draw

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "detection"
#: Of the whole training, the share in which the learning rate rises.
WARM_UP = 0.04


@dataclass(frozen=True)
class Plan:
    """How one detector is trained.

    Attributes:
        loss: from what is trained and a batch to named scalars, which are added up.
        batch: scenes a step.
        rate: AdamW's largest learning rate.
        wrap: the detector with what only its training needs.
    """

    loss: Callable[[Any, Scenes], dict[str, Tensor]]
    batch: int
    rate: float
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model


PLANS = {
    "fcos": Plan(fcos_loss, batch=64, rate=1e-3),
    "mask_rcnn": Plan(mask_rcnn_loss, batch=32, rate=6e-4),
    "yolos": Plan(yolos_loss, batch=128, rate=5e-4, wrap=YolosTraining),
}


def builders() -> dict[str, Callable[[], nn.Module]]:
    """The detectors as the example's user writes them."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        made: dict[str, Callable[[], nn.Module]] = importlib.import_module("detectors").BUILDERS
    finally:
        sys.path.remove(str(EXAMPLE))
    return made


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights of layers decay; biases, norms, positions and tokens do not."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if p.ndim < 2 or "position" in name or "token" in name]
    layers = [p for name, p in named if not (p.ndim < 2 or "position" in name or "token" in name)]
    return [{"params": layers, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]


def rate_at(progress: float) -> float:
    """The learning rate by its largest value, at a share of the training: a rise, then half a cosine."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.01)
    return 0.5 * (1 + math.cos(math.pi * min((progress - WARM_UP) / (1 - WARM_UP), 1.0)))


def train(
    name: str, model: nn.Module, *, minutes: float | None, steps: int | None, batch: int | None, seed: int
) -> tuple[dict[str, Tensor], int]:
    """Train on the model's device until the minutes or steps are over: the averaged weights, and the steps it took."""
    plan = PLANS[name]
    device = next(model.parameters()).device
    digits = split_digits("train").to(device)
    generator = torch.Generator(device).manual_seed(seed)
    training = plan.wrap(model).to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(training), lr=plan.rate, fused=device.type == "cuda")
    average = AveragedWeights(model)
    start = said = time.monotonic()
    step = 0
    while True:
        passed = time.monotonic() - start
        progress = step / steps if steps is not None else passed / (60 * (minutes or 0.0))
        if progress >= 1:
            return average.half(), step
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * rate_at(progress)
        losses = plan.loss(training, draw(batch or plan.batch, digits, generator))
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(training.parameters(), 2.0)
        optimizer.step()
        average.update()
        step += 1
        if step == 1 or time.monotonic() - said > 10:
            said = time.monotonic()
            parts = "  ".join(f"{key.removeprefix('loss_')} {value.item():.3f}" for key, value in losses.items())
            when = f"{said - start:4.0f} s, {progress:.0%}"
            print(f"{name}: {when}, step {step}, loss {loss.item():.3f} ({parts})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a detector of examples/detection on scenes of digits.")
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--out", type=Path, default=EXAMPLE)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="train so long (default: 8)")
    length.add_argument("--steps", type=int, help="train so many steps")
    parser.add_argument("--batch", type=int, help="scenes a step")
    parser.add_argument("--images", type=int, default=500, help="test scenes for the AP at the end; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    minutes = 8.0 if args.minutes is None and args.steps is None else args.minutes

    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device(args.device)
    build = builders()[args.name]
    weights, steps = train(
        args.name, build().to(device), minutes=minutes, steps=args.steps, batch=args.batch, seed=args.seed
    )
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(weights, args.out / f"{args.name}.safetensors")
    made = {
        "name": args.name,
        "steps": steps,
        "batch": args.batch or PLANS[args.name].batch,
        "minutes": minutes,
        "seed": args.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
    }
    if args.images:
        from tools.detectors.average_precision import average_precision

        model = build().to(device)
        model.load_state_dict(weights)
        made["test images"] = args.images
        made.update(average_precision(args.name, model, drawn(args.images, "test", 0), device))
    (args.out / f"{args.name}.json").write_text(json.dumps(made, indent=1) + "\n")
    print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
