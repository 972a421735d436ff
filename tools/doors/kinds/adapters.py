"""Adapters of PEFT: a few small matrices beside a base that lies elsewhere."""

from functools import partial
from pathlib import Path
from typing import Any

import peft
from torch import Tensor

from tools.doors.kind import Exports, Kind, Refused
from tools.doors.kinds.huggingface import small, write_processor
from tools.doors.small import CLASSES
from tools.random_weights import seeded


def _adapter(folder: Path, *, name: str, save_head: bool = False, **changed: Any) -> tuple[Any, Any]:
    """A base's folder and an adapter's; the model that both make together."""
    small(name).save_pretrained(folder / "base")
    write_processor(folder / "base")
    head = ["classifier"] if save_head else None
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=head, **changed)
    model = peft.get_peft_model(small(name), config)
    for parameter_name, parameter in seeded(model).named_parameters():
        if "lora" not in parameter_name and "modules_to_save" not in parameter_name:
            original = parameter_name.replace("base_model.model.", "").replace("base_layer.", "")
            parameter.copy_(small(name).get_parameter(original.replace("original_module.", "")))
    model.save_pretrained(folder / "adapter")
    return model, config


def _lora(folder: Path, *, name: str = "ViTForImageClassification", save_head: bool = False, **changed: Any) -> Exports:
    model, _ = _adapter(folder, name=name, save_head=save_head, **changed)

    def outputs(x: Tensor) -> dict[str, Tensor]:
        return {k: v for k, v in model(pixel_values=x).items() if isinstance(v, Tensor)}

    names = None if save_head or not name.endswith("ImageClassification") else CLASSES  # a new head has new classes
    return Exports("adapter", outputs, options={"base": "base"}, class_names=names)


def _merged(folder: Path) -> Exports:
    """`merge_and_unload().save_pretrained`: an ordinary folder again."""
    model, _ = _adapter(folder, name="ViTForImageClassification")
    merged = model.merge_and_unload()
    merged.save_pretrained(folder / "merged")
    write_processor(folder / "merged")
    return Exports("merged", lambda x: {"logits": merged(pixel_values=x).logits}, class_names=CLASSES)


def _without_base(folder: Path) -> Refused:
    _adapter(folder, name="ViTForImageClassification")
    return Refused("adapter", (r"--base", r"(?i)peft|adapter"))


_LIBRARY = ("peft", "transformers")

KINDS = (
    Kind("PEFT: LoRA and its base (--base)", _LIBRARY, _lora),
    Kind("PEFT: LoRA with a head of its own", _LIBRARY, partial(_lora, save_head=True)),
    Kind("PEFT: LoRA of an encoder", _LIBRARY, partial(_lora, name="Dinov2Model")),
    Kind("PEFT: DoRA", _LIBRARY, partial(_lora, use_dora=True)),
    Kind("PEFT: merged and saved", _LIBRARY, _merged),
    Kind("PEFT: adapter without its base", _LIBRARY, _without_base),
)
