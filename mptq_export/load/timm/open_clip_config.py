"""The `open_clip_config.json` that OpenCLIP keeps beside weights, in timm's terms.

It says what no tensor shows: heads, the activation function, mean and std. A tower of OpenCLIP's own is the vision
transformer of timm with its sizes, whatever these are; another one is a model of timm by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm

from mptq_export.load.file.advice import folder_config
from mptq_export.load.file.model_kwargs import check_model_kwargs
from mptq_export.load.timm.clip_activation import QUICK
from mptq_export.load.timm.hub_config import HubConfig
from mptq_export.support.errors import MptqError

OPEN_CLIP_CONFIG = "open_clip_config.json"
_SIZES = {384: "small", 512: "medium", 768: "base", 1024: "large", 1280: "huge", 1408: "giant", 1664: "gigantic"}
_HEAD = 64
"""Width of a head where it is not said."""
_CROPS = {"shortest": "center", "longest": "border", "squash": "squash"}
_POOLS = (None, "tok")
"""The class token is the vector of an image; whether the norm stands before or behind the choice is all the same."""


def read_open_clip_config(folder: Path, tensors: int) -> HubConfig | None:
    """The configuration in a folder; None where there is none, or none of a vision transformer.

    Args:
        folder: where the weights lie.
        tensors: number of these.

    Raises:
        MptqError: it describes a tower that timm cannot build, or says what no model has.
    """
    config = folder_config(folder, OPEN_CLIP_CONFIG)
    model, path = config.get("model_cfg"), folder / OPEN_CLIP_CONFIG
    vision = model.get("vision_cfg") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(vision, Mapping) or isinstance(vision.get("layers"), list):
        return None
    try:
        name, kwargs = _of_timm(vision) if "timm_model_name" in vision else _own(vision, bool(model.get("quick_gelu")))
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise MptqError(f"{path} does not make sense ({type(error).__name__}: {error}); pass --arch") from error
    pool = "an attentional_pool" if vision.get("attentional_pool") else None
    if vision.get("pool_type") not in _POOLS:
        pool = f"pool_type {str(vision['pool_type'])[:40]}"
    if pool is not None:
        raise MptqError(f"{path} has {pool}, which no tower of timm has; give the module itself in Python instead")
    check_model_kwargs(path, kwargs, tensors, "vision_cfg")
    embeds = model.get("embed_dim")
    return HubConfig(
        architecture=name,
        model_args=kwargs,
        num_classes=embeds if isinstance(embeds, int) and "timm_model_name" not in vision else None,
        pretrained_cfg=_input(config.get("preprocess_cfg")),
        class_names=None,
        source=OPEN_CLIP_CONFIG,
    )


def _own(vision: Mapping[str, Any], quick: bool) -> tuple[str, dict[str, Any]]:
    width, size, patch = int(vision["width"]), vision.get("image_size", 224), vision["patch_size"]
    kwargs: dict[str, Any] = {
        "embed_dim": width,
        "depth": int(vision["layers"]),
        "num_heads": width // int(vision.get("head_width", _HEAD)),
        "patch_size": patch,
        "img_size": size,
        "mlp_ratio": float(vision.get("mlp_ratio", 4.0)),
        "act_layer": "quick_gelu" if quick else "gelu",
        "pre_norm": not vision.get("no_ln_pre"),
    }
    if vision.get("ls_init_value") is not None:
        kwargs["init_values"] = float(vision["ls_init_value"])
    middle = QUICK if quick else "_clip_"
    name = f"vit_{_SIZES.get(width)}_patch{patch}{middle}{size}"
    return name if timm.is_model(name) else f"vit_base_patch16{middle}224", kwargs


def _of_timm(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    pool, size = vision.get("timm_pool"), vision.get("image_size")
    kwargs: dict[str, Any] = {"global_pool": pool} if pool in ("avg", "token", "map") else {}
    return str(vision["timm_model_name"]), {**kwargs, **({"img_size": size} if size else {})}


def _input(said: Any) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        return {}
    known = {key: said[key] for key in ("mean", "std", "interpolation") if said.get(key)}
    crop = _CROPS.get(str(said.get("resize_mode", "shortest")))
    return {**known, "crop_pct": 1.0, **({"crop_mode": crop} if crop else {})}
