"""Tiny timm models of every supported kind: random weights in which no bias, norm or LayerScale is trivial."""

from copy import deepcopy
from functools import cache
from typing import Any

import timm
import torch
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture import run as capturing
from mptq_export.capture.graph import Graph
from mptq_export.quantize import build_recipe as quantizing
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.settings import CalibrationFacts, ModelIdentity, Settings
from mptq_export.transform.prepare import prepare

CLASSES = 7
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.2, 0.3)
_CLASSES = {"num_classes": CLASSES}
_VIT: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": CLASSES,
}
_SWIN: dict[str, Any] = {
    "img_size": 32,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "num_classes": CLASSES,
}
#: timm name and arguments of each kind.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", _VIT),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", _VIT),
    "gap": ("vit_tiny_patch16_224", {**_VIT, "global_pool": "avg", "class_token": False}),
    "dinov2": ("vit_small_patch14_dinov2", {**_VIT, "patch_size": 16, "img_size": 64}),
    "dinov2_reg": ("vit_small_patch14_reg4_dinov2", {**_VIT, "patch_size": 16, "img_size": 64}),
    "swin": ("swin_tiny_patch4_window7_224", _SWIN),
}

#: The same for what other families add, one of each.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("vit_xsmall_patch16_clip_224", {**_VIT, "act_layer": "quick_gelu"}),
    "siglip": ("vit_base_patch16_siglip_224", _VIT),
    "rms_norm": ("test_vit4", {**_VIT, "qk_norm": True}),
    "eva": ("eva02_tiny_patch14_224", _VIT),
    "dinov3": ("vit_small_plus_patch16_dinov3", _VIT),
    "cait": ("cait_xxs24_224", {**_VIT, "depth_token_only": 1}),
    "swinv2": ("swinv2_tiny_window8_256", _SWIN),
    "levit": (
        "levit_128s",
        {"img_size": 64, "embed_dim": (16, 32), "num_heads": (2, 2), "depth": (1, 1), "key_dim": 8, **_CLASSES},
    ),
    "convit": ("convit_tiny", {**_VIT, "depth": 3, "local_up_to_layer": 2}),
    "hiera": (
        "hiera_tiny_224",
        {
            "img_size": (64, 64),
            "embed_dim": 16,
            "num_heads": 1,
            "stages": (1, 1, 1),
            "q_pool": 2,
            "mask_unit_size": (4, 4),
            **_CLASSES,
        },
    ),
    "tnt": (
        "tnt_s_patch16_224",
        {"img_size": 32, "embed_dim": 32, "inner_dim": 8, "depth": 2, "num_heads_inner": 2, "num_heads_outer": 2}
        | _CLASSES,
    ),
    "visformer": (
        "visformer_tiny",
        {"img_size": 64, "init_channels": 8, "embed_dim": 32, "depth": (1, 0, 1), "num_heads": 2, **_CLASSES},
    ),
    "crossvit": (
        "crossvit_9_240",
        {
            "img_size": 32,
            "img_scale": (1.0, 0.75),
            "patch_size": (8, 12),
            "embed_dim": (16, 32),
            "depth": ((1, 1, 0),),
            "num_heads": (2, 2),
            "mlp_ratio": (2, 2, 1),
            **_CLASSES,
        },
    ),
    "pit": (
        "pit_ti_224",
        {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8), "heads": (2, 4), "depth": (1, 1)}
        | _CLASSES,
    ),
    "maxvit": (
        "maxvit_pico_rw_256",
        {"img_size": 64, "embed_dim": (32, 32), "depths": (1, 1), "block_type": ("M", "M"), "stem_width": 8} | _CLASSES,
    ),
    "sam": (
        "samvit_base_patch16",
        {
            "img_size": 48,
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "window_size": 4,
            "global_attn_indexes": (1,),
            "neck_chans": 16,
            "use_rel_pos": True,
            **_CLASSES,
        },
    ),
}

_ALL = KINDS | FAMILIES

#: How `quantized` was asked for, as far as a recipe tells.
SETTINGS = Settings(
    bits="4/8",
    pins={},
    method="best",
    reconstruct=False,
    input_type="float32",
    weight_storage="packed",
    target=None,
    features=(),
    preprocessing={},
    calibration=CalibrationFacts("16 images", 16, pixel_inputs=True, exif=False, skipped=0, warnings=()),
    classes=None,
    search=None,
    versions={},
)


@cache
def tiny(kind: str) -> nn.Module:
    """The model of one kind, in evaluation mode."""
    name, kwargs = _ALL[kind]
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **kwargs).eval().requires_grad_(False)
    for path, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if path.endswith(("gamma", "bn.weight")) or ("norm" in path and path.endswith("weight")):
            parameter.copy_(1 + 0.2 * noise)
        elif parameter.dim() == 2 and "table" not in path:
            parameter.copy_(noise * parameter.shape[1] ** -0.5)
        elif path.endswith("weight") and parameter.dim() == 4:
            gain = 1 if path.startswith("patch_embed") else 2  # no norm raises what activation functions lower
            parameter.copy_(gain * noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(0.2 * noise)
    for path, buffer in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            buffer.copy_(buffer + 0.2 * torch.rand_like(buffer))
    return model


def size(kind: str) -> tuple[int, int, int]:
    """(C, H, W) of the model's input."""
    given = _ALL[kind][1]["img_size"]
    edge = given if isinstance(given, int) else given[0]
    return 3, edge, edge


def pixels(kind: str, count: int, seed: int = 0) -> torch.Tensor:
    """Random 8-bit pixels, uint8 NHWC: smooth patches, so that images differ in more than noise."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = size(kind)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    fine = torch.rand(count, channels, height, width, generator=generator)
    image = 0.7 * nn.functional.interpolate(coarse, (height, width), mode="bilinear") + 0.3 * fine
    return (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def images(kind: str, count: int, seed: int = 0) -> torch.Tensor:
    """The same pixels, normalised: float32 NCHW."""
    raw = pixels(kind, count, seed).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (MEAN, STD))
    return ((raw - mean) / std).contiguous()


@cache
def captured(kind: str) -> Graph:
    """The graph as captured."""
    return capturing.capture(tiny(kind), size(kind))


@cache
def prepared(kind: str) -> Graph:
    """The graph after all transforms, its input being pixels."""
    return prepare(captured(kind), images(kind, 2), (MEAN, STD))


@cache
def calibrated_graph(kind: str) -> CalibratedGraph:
    """The prepared graph with 16 images."""
    seen = torch.cat([images(kind, 8, seed) for seed in (1, 2)])
    return CalibratedGraph(prepared(kind), collect(prepared(kind), [seen.numpy()]), seen)


def quantized_anew(
    kind: str, bits: tuple[int, int] | WidthsOf = (8, 8), method: Method = BEST
) -> tuple[Graph, ExportRecipe]:
    """The transformed graph and its recipe, from 16 images; `bits` for all layers or by the name of a layer."""
    graph, made = build_recipe(calibrated_graph(kind), _widths(bits), method)
    return graph, of_export(kind, made)


@cache
def _quantized(kind: str, bits: tuple[int, int] | WidthsOf, method: Method) -> tuple[Graph, ExportRecipe]:
    graph, made = quantizing.build_recipe(calibrated_graph(kind), _widths(bits), method)  # it remembers: remembered.py
    return graph, of_export(kind, made)


def _widths(bits: tuple[int, int] | WidthsOf) -> WidthsOf:
    return bits if callable(bits) else lambda _layer: bits


def of_export(kind: str, made: Recipe) -> ExportRecipe:
    """A recipe as one of an export of that kind of model."""
    return ExportRecipe.of(made, ModelIdentity(kind, "by the test", {}, "0" * 64), SETTINGS)


def quantized(
    kind: str, bits: tuple[int, int] | WidthsOf = (8, 8), method: Method = BEST
) -> tuple[Graph, ExportRecipe]:
    """The same, quantized once for all tests; the recipe is a copy."""
    graph, made = _quantized(kind, bits, method)
    return graph, deepcopy(made)


def recipe(kind: str, bits: tuple[int, int] = (8, 8)) -> ExportRecipe:
    """A recipe of plain min/max rounding: it transforms nothing, so that it is one of the prepared graph."""
    return quantized(kind, bits, MINMAX)[1]
