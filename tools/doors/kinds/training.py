"""What training frameworks and people's own loops write."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from tools.doors.kind import Exports, Kind
from tools.doors.small import ARCH, State, logits_of, save, told, vit


def _loop(folder: Path, *, content: Callable[[State], object], name: str = "checkpoint.pt") -> Exports:
    """What somebody's own training loop saves."""
    model = vit()
    save(content(model.state_dict()), folder / name)
    return logits_of(model, name, options=told())


def _under(key: str) -> Callable[[State], object]:
    return lambda state: {key: state, "epoch": 7, "best_acc": 0.71}


def _optimizer(state: State) -> object:
    """The loop of PyTorch's own tutorial."""
    model = vit().requires_grad_()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    told = {"optimizer_state_dict": optimizer.state_dict(), "epoch": 7, "loss": torch.tensor(0.31)}
    return {"model_state_dict": state, **told}


def _averaged(folder: Path, *, ema: bool) -> Exports:
    """`torch.optim.swa_utils`: module., and a counter of its own."""
    model = vit()
    swa: Any = swa_utils
    averaged = swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(0.99) if ema else None)
    save({"state_dict": averaged.state_dict(), "epoch": 20}, folder / "swa.pt")
    return logits_of(model, "swa.pt", options=told())


def _lightning_module(network: nn.Module, attribute: str, parameters: dict[str, Any] | None, criterion: bool) -> Any:
    import lightning

    class Classifier(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            if parameters is not None:
                self.save_hyperparameters(parameters)
            setattr(self, attribute, network)
            if criterion:
                self.criterion = nn.CrossEntropyLoss(weight=torch.ones(7))
                self.register_buffer("confusion", torch.zeros(7, 7))

        def training_step(self, batch: Any, _index: int) -> Tensor:
            images, labels = batch
            return nn.functional.cross_entropy(getattr(self, attribute)(images), labels)

        def train_dataloader(self) -> Any:
            data: Any = [(torch.randn(3, 32, 32), 1)] * 2
            return torch.utils.data.DataLoader(data, batch_size=2)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    return Classifier()


def _lightning(
    folder: Path, *, attribute: str, parameters: Callable[[], Any] = dict, criterion: bool = False
) -> Exports:
    """`Trainer.save_checkpoint` after a step of training."""
    import lightning

    model = vit().requires_grad_()
    module = _lightning_module(model, attribute, parameters(), criterion)
    trainer = lightning.Trainer(
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
    )
    trainer.fit(module)
    trainer.save_checkpoint(folder / "epoch=0-step=1.ckpt")
    model.eval().requires_grad_(False)
    return logits_of(model, "epoch=0-step=1.ckpt", options=told())


def _omegaconf() -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create({"optimizer": {"name": "adamw", "lr": 1e-3}, "network": {"arch": ARCH, "depth": 2}})


def _accelerate(folder: Path, *, shard: str) -> Exports:
    """`Accelerator.save_model`."""
    from accelerate import Accelerator

    model = vit()
    Accelerator(cpu=True).save_model(model, folder / "saved", max_shard_size=shard)
    return logits_of(model, "saved", options=told())


def _accelerate_state(folder: Path) -> Exports:
    """`Accelerator.save_state`: the weights among states of the optimizer and of random numbers."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = vit().requires_grad_()
    ready, _ = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    accelerator.save_state(str(folder / "step_10"))
    return logits_of(ready.eval().requires_grad_(False), "step_10/model.safetensors", options=told())


def _deepspeed(folder: Path) -> Exports:
    """The model's part of a DeepSpeed checkpoint of one rank, with the entries that its engine writes."""
    model = vit()
    entries: dict[str, Any] = {
        "module": {f"module.{name}": value for name, value in model.state_dict().items()},
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [{name: value.shape for name, value in model.state_dict().items()}],
        "frozen_param_shapes": None,
        "frozen_param_fragments": None,
        "lr_scheduler": None,
        "sparse_tensor_module_names": set(),
        "skipped_steps": 0,
        "global_steps": 100,
        "global_samples": 3200,
        "dp_world_size": 1,
        "mp_world_size": 1,
        "ds_config": {"train_batch_size": 32, "fp16": {"enabled": False}},
        "ds_version": "0.17.0",
    }
    save(entries, folder / "global_step100" / "mp_rank_00_model_states.pt")
    return logits_of(model, "global_step100/mp_rank_00_model_states.pt", options=told())


def _fastai(folder: Path) -> Exports:
    """The entries that fastai's `Learner.save` writes, and the folder that it takes."""
    model = vit()
    optimizer = {"hypers": [{"lr": 1e-3, "wd": 0.01}], "state": [{}]}
    save({"model": model.state_dict(), "opt": optimizer}, folder / "models" / "stage-1.pth")
    return logits_of(model, "models/stage-1.pth", options=told())


def _ignite(folder: Path) -> Exports:
    """`ignite.handlers.Checkpoint` of a model and its trainer."""
    from ignite.engine import Engine
    from ignite.handlers import Checkpoint, DiskSaver

    model = vit()
    engine = Engine(lambda _engine, _batch: 0.0)
    saver = DiskSaver(str(folder), create_dir=True)
    engine.run([0], max_epochs=1)
    Checkpoint({"model": model, "trainer": engine}, saver, filename_pattern="{name}.{ext}")(engine)
    return logits_of(model, "checkpoint.pt", options=told())


def _mmengine(folder: Path) -> Exports:
    """`mmengine.runner.save_checkpoint` with the meta and the message hub of a runner."""
    from mmengine.logging import MessageHub
    from mmengine.runner import save_checkpoint

    model = vit()
    hub = MessageHub.get_instance("doors")
    hub.update_scalar("train/loss", 0.3)
    meta = {"epoch": 12, "iter": 4000, "cfg": "model = dict()\n", "seed": 0}
    entries = {"state_dict": model.state_dict(), "meta": meta, "message_hub": hub.state_dict()}
    save_checkpoint(entries, str(folder / "epoch_12.pth"))
    return logits_of(model, "epoch_12.pth", options=told())


def _args(state: State) -> object:
    return {"network": state, "args": argparse.Namespace(lr=1e-3, data="/data"), "step": 12}


_OWN = ("torch", "timm")
_LIGHTNING = ("lightning", "timm")

KINDS = (
    Kind("Lightning: model.", _LIGHTNING, partial(_lightning, attribute="model")),
    Kind(
        "Lightning: net., criterion and metric beside it",
        _LIGHTNING,
        partial(_lightning, attribute="net", criterion=True),
    ),
    Kind(
        "Lightning: hyper-parameters of hydra",
        ("lightning", "omegaconf", "timm"),
        partial(_lightning, attribute="backbone", parameters=_omegaconf),
    ),
    Kind("SWA: AveragedModel", _OWN, partial(_averaged, ema=False)),
    Kind("EMA: AveragedModel", _OWN, partial(_averaged, ema=True)),
    Kind("accelerate: save_model", ("accelerate", "timm"), partial(_accelerate, shard="10GB")),
    Kind("accelerate: save_model in shards", ("accelerate", "timm"), partial(_accelerate, shard="30KB")),
    Kind("accelerate: save_state", ("accelerate", "timm"), _accelerate_state),
    Kind("DeepSpeed: mp_rank_00_model_states.pt", _OWN, _deepspeed),
    Kind("fastai: Learner.save", _OWN, _fastai),
    Kind("ignite: Checkpoint", ("pytorch-ignite", "timm"), _ignite),
    Kind("mmengine: runner", ("mmengine", "timm"), _mmengine),
    Kind("own loop: model_state_dict and optimizer", _OWN, partial(_loop, content=_optimizer)),
    Kind("own loop: net", _OWN, partial(_loop, content=_under("net"))),
    Kind("own loop: weights", _OWN, partial(_loop, content=_under("weights"))),
    Kind("own loop: params", _OWN, partial(_loop, content=_under("params"))),
    Kind("own loop: ema", _OWN, partial(_loop, content=_under("ema"))),
    Kind("own loop: network and args", _OWN, partial(_loop, content=_args)),
    Kind("own loop: module", _OWN, partial(_loop, content=_under("module"))),
)
