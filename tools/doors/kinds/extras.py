"""Plain data beside the weights: what it is must not stop the load, nor be run."""

import collections
import dataclasses
import datetime
import enum
import functools
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.doors.kind import Exports, Kind
from tools.doors.small import ARCH, VIT, logits_of, save, vit


def _beside(folder: Path, extra: Callable[[], object]) -> Exports:
    model = vit()
    entries = {"arch": ARCH, "model_kwargs": VIT, "state_dict": model.state_dict(), "extra": extra()}
    save(entries, folder / "checkpoint.pth")
    return logits_of(model, "checkpoint.pth")


def _cfg_node() -> Any:
    from yacs.config import CfgNode

    config = CfgNode()
    config.MODEL = CfgNode({"TYPE": "vit", "DROP_PATH_RATE": 0.2})
    return config


def _omegaconf() -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create({"lr": 1e-3, "layers": [1, 2], "name": "${lr}"})


def _of_own_package() -> Any:
    """An enumeration and a dataclass of a package that the reader does not have."""
    package = types.ModuleType("someones_project")

    class Split(enum.Enum):
        TRAIN = "train"

    @dataclasses.dataclass
    class Config:
        lr: float = 1e-3
        split: Split = Split.TRAIN

    for made in (Split, Config):
        made.__module__, made.__qualname__ = package.__name__, made.__name__
        setattr(package, made.__name__, made)
    sys.modules[package.__name__] = package
    return Config()


def _random_states() -> Any:
    return {"torch": torch.get_rng_state(), "numpy": np.random.default_rng(0).bit_generator.state, "py": (3, (1, 2))}


_LIBRARIES = ("torch", "timm")

KINDS = (
    Kind("beside: Path", _LIBRARIES, partial(_beside, extra=lambda: Path("/data/run"))),
    Kind("beside: defaultdict", _LIBRARIES, partial(_beside, extra=lambda: collections.defaultdict(list, acc=[0.7]))),
    Kind(
        "beside: NumPy array and scalar",
        ("numpy", "timm"),
        partial(_beside, extra=lambda: [np.arange(3.0), np.float64(0.7)]),
    ),
    Kind("beside: datetime", _LIBRARIES, partial(_beside, extra=lambda: datetime.datetime(2026, 1, 2, 3, 4))),
    Kind(
        "beside: partial of a layer",
        _LIBRARIES,
        partial(_beside, extra=lambda: functools.partial(torch.nn.LayerNorm, eps=1e-6)),
    ),
    Kind("beside: OmegaConf", ("omegaconf", "timm"), partial(_beside, extra=_omegaconf)),
    Kind("beside: CfgNode", ("yacs", "timm"), partial(_beside, extra=_cfg_node)),
    Kind("beside: dataclass and enumeration of one's own", _LIBRARIES, partial(_beside, extra=_of_own_package)),
    Kind("beside: states of random numbers", _LIBRARIES, partial(_beside, extra=_random_states)),
)
