"""What timm itself writes, and plain `torch.save` of its models."""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn

from tools.doors.kind import Exports, Kind
from tools.doors.small import (
    ARCH,
    CLASSES,
    IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    VIT,
    logits_of,
    save,
    told,
    vit,
)
from tools.random_weights import seeded

_SWIN: dict[str, Any] = {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4)}


def _state_dict(folder: Path, name: str = "vit.pth", **options: Any) -> Exports:
    """`torch.save(model.state_dict(), FILE)`, under names of all sorts."""
    model = vit()
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    torch.save(model.state_dict(), path, **options)
    return logits_of(model, name, options=told())


def _named(folder: Path) -> Exports:
    """A dictionary that names its architecture, as `timm.create_model` takes it."""
    model = vit()
    save({"arch": ARCH, "model_kwargs": VIT, "state_dict": model.state_dict()}, folder / "model.pt")
    return logits_of(model, "model.pt")


def _training_script(folder: Path, *, which: str, ema: bool) -> Exports:
    """`CheckpointSaver` of timm's train.py, with the arguments that it was called with."""
    model = vit(num_heads=4)
    kwargs = {**VIT, "num_heads": 4}
    args = argparse.Namespace(
        model=ARCH, model_kwargs=kwargs, gp=None, img_size=None, crop_pct=0.95, **_lists(IMAGENET)
    )
    average = ModelEmaV3(vit(num_heads=4)) if ema else None
    if average is not None:
        model = seeded(average.module)
        trained = vit(num_heads=4)
        trained.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
    else:
        trained = model
    optimizer = torch.optim.AdamW(trained.requires_grad_().parameters())
    saver = CheckpointSaver(trained, optimizer, args, average, checkpoint_dir=str(folder), recovery_dir=str(folder))
    saver.save_checkpoint(epoch=3, metric=71.2)
    model.requires_grad_(False)
    return logits_of(model, which, **IMAGENET)


def _lists(values: dict[str, Any]) -> dict[str, list[float]]:
    return {name: list(value) for name, value in values.items()}


def _swin_of_training_script(folder: Path) -> Exports:
    """A Swin trained at another size and with another pooling: no tensor shows either."""
    kwargs = {name: value for name, value in _SWIN.items() if name != "img_size"}
    arch = "swin_tiny_patch4_window7_224"
    model = seeded(timm.create_model(arch, img_size=64, global_pool="max", num_classes=7, **kwargs))
    args = argparse.Namespace(model=arch, model_kwargs=kwargs, img_size=64, gp="max", num_classes=7)
    save({"epoch": 1, "arch": arch, "state_dict": model.state_dict(), "args": args}, folder / "checkpoint-9.pth.tar")
    return logits_of(model, "checkpoint-9.pth.tar", size=(3, 64, 64), **IMAGENET)


def _hub_folder(folder: Path, *, given: str, safe: Any = "both", names: bool = True) -> Exports:
    """`timm.models.save_for_hf`: what `push_to_hf_hub` sends and a snapshot of the hub holds."""
    model = vit()
    save_for_hf(
        model, folder / "snapshot", {"label_names": list(CLASSES)} if names else None, VIT, safe_serialization=safe
    )
    return logits_of(model, given, class_names=CLASSES if names else None)


def _hub_of_other_input(folder: Path) -> Exports:
    """A hub folder whose pretrained_cfg differs from the architecture's."""
    model: Any = vit()
    config = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "input_size": [3, 32, 32], "crop_pct": 1.0}
    model.pretrained_cfg = {**model.pretrained_cfg, **config}
    save_for_hf(model, folder / "own", None, VIT, safe_serialization=True)
    return logits_of(model, "own", **IMAGENET)


def _shards(folder: Path) -> Exports:
    """Safetensors in several files with an index, and timm's config.json beside them."""
    model = vit()
    save_for_hf(model, folder / "sharded", None, VIT, safe_serialization=True)
    (folder / "sharded" / "model.safetensors").unlink()
    save_torch_state_dict(model.state_dict(), folder / "sharded", max_shard_size=30_000)
    assert len(list((folder / "sharded").glob("model-*.safetensors"))) > 1
    return logits_of(model, "sharded")


def _safetensors(folder: Path, dtype: torch.dtype = torch.float32) -> Exports:
    model = vit().to(dtype)
    save_file(model.state_dict(), folder / "model.safetensors")
    return logits_of(model.float(), "model.safetensors", options=told())


def _half(folder: Path) -> Exports:
    model = vit().half()
    save(model.state_dict(), folder / "half.pth")
    return logits_of(model.float(), "half.pth", options=told())


def _deit(folder: Path) -> Exports:
    """`main.py` of DeiT: model, optimizer, averaged model, scaler, arguments."""
    model = vit("deit_tiny_distilled_patch16_224")
    args = argparse.Namespace(model="deit_tiny_distilled_patch16_224", input_size=32, output_dir=Path("out"))
    state = {name: 0.5 * value for name, value in model.state_dict().items()}
    other = {"optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 299, "scaler": {"scale": 65536.0}}
    save({"model": state, "model_ema": model.state_dict(), "args": args, **other}, folder / "checkpoint.pth")
    options = told("deit_tiny_distilled_patch16_224")
    return logits_of(model, "checkpoint.pth", options=options, **IMAGENET)


def _module(folder: Path) -> Exports:
    """`torch.save(model)`: a pickle that runs code."""
    model = vit()
    save(model, folder / "whole.pth")
    return logits_of(model, "whole.pth", options={"trust": True})


def _module_in_dictionary(folder: Path) -> Exports:
    model = vit()
    save({"model": model, "epoch": 3}, folder / "whole.pt")
    return logits_of(model, "whole.pt", options={"trust": True})


def _prefixed(folder: Path, rename: Callable[[str], str]) -> Exports:
    model = vit()
    save({rename(name): value for name, value in model.state_dict().items()}, folder / "vit.pth")
    return logits_of(model, "vit.pth", options=told())


def _data_parallel(folder: Path) -> Exports:
    model = vit()
    save(nn.DataParallel(model).state_dict(), folder / "vit.pth")
    return logits_of(model, "vit.pth", options=told())


def _compiled(folder: Path) -> Exports:
    model = vit()
    compiled: Any = torch.compile(model)
    save(compiled.state_dict(), folder / "vit.pth")
    return logits_of(model, "vit.pth", options=told())


def _compiled_blocks(folder: Path) -> Exports:
    model: Any = vit()
    states = {}
    for name, value in model.state_dict().items():
        states[name.replace("blocks.0.", "blocks.0._orig_mod.").replace("blocks.1.", "blocks.1._orig_mod.")] = value
    save({"state_dict": states, "epoch": 1}, folder / "vit.pth")
    return logits_of(model, "vit.pth", options=told())


def _encoder(folder: Path) -> Exports:
    """A model without a classifier, as `num_classes=0` gives it."""
    model = vit(num_classes=0)
    save(model.state_dict(), folder / "encoder.pth")
    return logits_of(model, "encoder.pth", name="embedding", options=told(num_classes=0))


def _feature_maps(folder: Path) -> Exports:
    """The stages of a Swin."""
    arch = "swin_tiny_patch4_window7_224"
    model = seeded(timm.create_model(arch, num_classes=7, **_SWIN))
    backbone = timm.create_model(arch, features_only=True, num_classes=7, **_SWIN).eval().requires_grad_(False)
    backbone.load_state_dict({k.replace("layers.", "layers_"): v for k, v in model.state_dict().items()}, strict=False)
    save(model.state_dict(), folder / "swin.pth")

    def maps(x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = backbone(x)
        return {f"features.{n}": each.permute(0, 3, 1, 2) for n, each in enumerate(found)}

    options = {"arch": arch, "model_kwargs": {**_SWIN, "num_classes": 7}, "features": (0, 1)}
    return Exports("swin.pth", maps, (3, 64, 64), options, **IMAGENET)


def _config_beside(folder: Path) -> Exports:
    """Weights and config.json of another name than the hub's, as people download them."""
    model = vit()
    save_for_hf(model, folder, {"label_names": list(CLASSES)}, VIT, safe_serialization=True)
    (folder / "model.safetensors").rename(folder / "finetuned-epoch-12.safetensors")
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["architecture"] == ARCH
    return logits_of(model, "finetuned-epoch-12.safetensors", class_names=CLASSES)


_TIMM = ("timm", "torch")

KINDS = (
    Kind("state_dict, .pth", _TIMM, _state_dict),
    Kind(
        "state_dict, .pt of the time before zip",
        _TIMM,
        partial(_state_dict, name="old.pt", _use_new_zipfile_serialization=False),
    ),
    Kind("state_dict, .bin", _TIMM, partial(_state_dict, name="pytorch_model.bin")),
    Kind("state_dict, .PTH", _TIMM, partial(_state_dict, name="VIT.PTH")),
    Kind("state_dict, .ckpt", _TIMM, partial(_state_dict, name="last.ckpt")),
    Kind("state_dict, no suffix", _TIMM, partial(_state_dict, name="checkpoint")),
    Kind("state_dict, a dot in its name", _TIMM, partial(_state_dict, name="vit.epoch12")),
    Kind("state_dict in float16", _TIMM, _half),
    Kind("safetensors", ("safetensors", "timm"), _safetensors),
    Kind("safetensors in bfloat16", ("safetensors", "timm"), partial(_safetensors, dtype=torch.bfloat16)),
    Kind("dictionary with arch and model_kwargs", _TIMM, _named),
    Kind("train.py: last.pth.tar", _TIMM, partial(_training_script, which="last.pth.tar", ema=False)),
    Kind("train.py: model_best.pth.tar", _TIMM, partial(_training_script, which="model_best.pth.tar", ema=False)),
    Kind("train.py: averaged weights", _TIMM, partial(_training_script, which="checkpoint-3.pth.tar", ema=True)),
    Kind("train.py: Swin of another size and pooling", _TIMM, _swin_of_training_script),
    Kind("hub folder", _TIMM, partial(_hub_folder, given="snapshot")),
    Kind("hub folder with pytorch_model.bin only", _TIMM, partial(_hub_folder, given="snapshot", safe=False)),
    Kind("hub folder: its model.safetensors", _TIMM, partial(_hub_folder, given="snapshot/model.safetensors")),
    Kind("hub folder of a model with another mean", _TIMM, _hub_of_other_input),
    Kind("hub folder with shards and an index", ("timm", "huggingface-hub"), _shards),
    Kind("safetensors of any name beside config.json", _TIMM, _config_beside),
    Kind("DeiT's main.py", _TIMM, _deit),
    Kind("module, whole (--trust)", _TIMM, _module),
    Kind("module in a dictionary (--trust)", _TIMM, _module_in_dictionary),
    Kind("DataParallel (module.)", _TIMM, _data_parallel),
    Kind("torch.compile (_orig_mod.)", _TIMM, _compiled),
    Kind("blocks compiled one by one", _TIMM, _compiled_blocks),
    Kind("module._orig_mod. together", _TIMM, partial(_prefixed, rename="module._orig_mod.{}".format)),
    Kind("prefix backbone.", _TIMM, partial(_prefixed, rename="backbone.{}".format)),
    Kind("encoder without a classifier", _TIMM, _encoder),
    Kind("feature maps of a Swin (--features)", _TIMM, _feature_maps),
)
