"""Checkpoints that say more, or less, than their tensors do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from tiny_models import KINDS, MEAN, STD, tiny
from torch import nn

from .feeding import ARCH, KWARGS, QUICK, checkpoint, pictures, trained, untold
from .table import Command, Mistake

#: What the tensors show, and what they do not.
SEEN = {key: value for key, value in KWARGS.items() if key != "num_heads"}
SWIN, SWIN_KWARGS = KINDS["swin"]
LARGER = {**SWIN_KWARGS, "img_size": 64}
UNSIZED = {key: value for key, value in SWIN_KWARGS.items() if key != "img_size"}
DINO = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 7}


def exported(model: Path, *arguments: object) -> Command:
    return [
        "export",
        model,
        "--calib",
        pictures(model.parent / "calib"),
        *QUICK,
        "-o",
        model.parent / "m.mptq.onnx",
        *arguments,
    ]


def by_args(model: dict[str, Any], *, arch: str = ARCH, **args: Any) -> Callable[[Path], Command]:
    return lambda folder: exported(trained(folder, arch=arch, model=model, **args))


def by_options(model: dict[str, Any], *options: object, arch: str = ARCH) -> Callable[[Path], Command]:
    """The same tensors, and all that they do not show said on the command line."""
    return lambda folder: exported(untold(folder, arch=arch, model=model), "--arch", arch, *options)


def kwargs(**values: Any) -> tuple[object, ...]:
    return ("--model-kwargs", json.dumps(values))


def two_averages(folder: Path) -> Command:
    """Weights and their average; the average is what is evaluated at training."""
    plain, average = (timm.create_model(ARCH, **KWARGS).state_dict() for _ in range(2))
    return exported(checkpoint(folder, state_dict=plain, state_dict_ema=average))


def conflicting(folder: Path) -> Command:
    return exported(
        trained(folder, model=KWARGS, model_kwargs=KWARGS, mean=list(MEAN), std=list(STD)), "--mean", "0.1,0.2,0.3"
    )


def numbered(folder: Path) -> Command:
    """The order of the folders says nothing of the logits."""
    model = trained(folder, model=KWARGS, model_kwargs=KWARGS, class_map="names.txt")
    return ["export", model, "--calib", pictures(folder / "calib", tuple("abcdefg"), 3), *QUICK]


def dropped(folder: Path) -> Command:
    """DINOv3's own names, with the q and v biases that one of timm's two architectures lacks."""
    arch = "vit_small_patch16_dinov3"
    model, stored = timm.create_model(arch, **DINO), {}
    for name, tensor in model.state_dict().items():
        theirs = (
            name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        )
        stored[theirs] = torch.randn_like(tensor)
    for block in range(2):
        stored[f"blocks.{block}.attn.qkv.bias"] = torch.randn(96)
        stored[f"blocks.{block}.attn.qkv.bias_mask"] = torch.tensor([1.0] * 32 + [0.0] * 32 + [1.0] * 32)
    stored |= {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    torch.save({"arch": arch, "model_kwargs": DINO, "state_dict": stored}, folder / "m.pt")
    return exported(folder / "m.pt")


def changed(**tensors: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], Command]:
    def feed(folder: Path) -> Command:
        state = dict(tiny("vit").state_dict())
        for name, change in tensors.items():
            path = name.replace("__", ".")
            state[path] = change(state.get(path, torch.zeros(4)))
        return exported(checkpoint(folder, state_dict=state))

    return feed


def apart(beside: str) -> Callable[[Path], Command]:
    """The model as a part of something, with another tensor beside it."""

    def feed(folder: Path) -> Command:
        state = {f"backbone.{name}": tensor for name, tensor in tiny("vit").state_dict().items()}
        return exported(checkpoint(folder, state_dict={**state, beside: torch.ones(3, 3)}))

    return feed


def several(folder: Path) -> Command:
    """Nothing names the model; ViTs of this shape differ in mean and std."""
    model = {
        key: value for key, value in KWARGS.items() if key not in ("embed_dim", "depth", "num_heads", "patch_size")
    }
    return exported(
        checkpoint(folder, arch=None, model_kwargs=model, state_dict=timm.create_model(ARCH, **model).state_dict())
    )


class Mixing(nn.Module):
    """The images of a batch are centred together."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny("vit")
        self.pretrained_cfg = self.inner.pretrained_cfg | {"input_size": (3, 32, 32)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(0, keepdim=True))


def mixing(folder: Path) -> Command:
    torch.save(Mixing(), folder / "m.pt")
    return exported(folder / "m.pt", "--trust", "--img-size", "32", "--mean", "0.5", "--std", "0.5")


CHECKPOINTS = (
    Mistake(
        "heads that only args tell",
        by_args({**KWARGS, "num_heads": 4}, model_kwargs={**SEEN, "num_heads": 4}),
        "right",
        rightly=by_options({**KWARGS, "num_heads": 4}, *kwargs(**SEEN, num_heads=4)),
    ),
    Mistake(
        "pooling that only args tell",
        by_args(
            {**KWARGS, "global_pool": "avgmax", "fc_norm": False},
            model_kwargs={**KWARGS, "fc_norm": False},
            gp="avgmax",
        ),
        "right",
        rightly=by_options(
            {**KWARGS, "global_pool": "avgmax", "fc_norm": False},
            *kwargs(**KWARGS, global_pool="avgmax", fc_norm=False),
        ),
    ),
    Mistake(
        "a Swin's size that only args tell",
        by_args(LARGER, arch=SWIN, model_kwargs=UNSIZED, img_size=64),
        "right",
        rightly=by_options(LARGER, *kwargs(**LARGER), arch=SWIN),
    ),
    Mistake(
        "mean and std that only args tell",
        by_args(KWARGS, model_kwargs=KWARGS, mean=list(MEAN), std=list(STD)),
        "right",
        rightly=by_options(KWARGS, *kwargs(**KWARGS), "--mean", "0.5,0.4,0.45", "--std", "0.25,0.2,0.3"),
    ),
    Mistake(
        "resizing that only args tell",
        by_args(KWARGS, model_kwargs=KWARGS, interpolation="bilinear", crop_pct=0.7, crop_mode="squash"),
        "right",
        rightly=by_options(
            KWARGS, *kwargs(**KWARGS), "--interpolation", "bilinear", "--crop-pct", 0.7, "--crop-mode", "squash"
        ),
    ),
    Mistake("an average beside the weights", two_averages, "right", ("state_dict_ema", "state_dict not taken")),
    Mistake("an option against the checkpoint", conflicting, "told", ("mean", "--mean")),
    Mistake("classes that a file numbered", numbered, "told", ("--class-map", "names.txt")),
    Mistake("tensors that a conversion drops", dropped, "refused", ("qkv.bias", "--arch")),
    Mistake("a tensor too many", changed(extra__weight=lambda x: x), "refused", ("extra.weight",)),
    Mistake("a tensor of another shape", changed(head__bias=lambda x: x[:-1]), "refused", ("head.bias",)),
    Mistake("NaN among the weights", changed(head__bias=lambda x: x * float("nan")), "refused", ("head.bias", "NaN")),
    Mistake(
        "a classifier beside a backbone", apart("classifier.weight"), "refused", ("classifier.weight", "backbone.")
    ),
    Mistake("a loss beside a backbone", apart("criterion.weight"), "right", ("criterion.weight left out",)),
    Mistake("complex weights", changed(head__bias=lambda x: x.to(torch.complex64)), "refused", ("head.bias",)),
    Mistake("a checkpoint that names no model", several, "refused", ("--arch",)),
    Mistake("a model that mixes its images", mixing, "refused", ("batch",)),
)
