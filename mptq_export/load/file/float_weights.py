"""Weights of a float model: plain tensors of finite numbers, as float32; and what is none, in a line each."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mptq_export.support.errors import MptqError

PIECES = (
    "holds pieces of a distributed tensor; save the full state dict (FSDP: FULL_STATE_DICT), or join the folder: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pt"
)
_FLOAT_MODEL = "give the float checkpoint that it was made from"
_QUANTIZED = (
    (re.compile(r"\.(SCB|absmax|quant_map|quant_state\..*|nested_absmax)$"), "bitsandbytes"),
    (re.compile(r"\.(qweight|qzeros)$"), "GPTQ or AWQ"),
    (re.compile(r"\.(weight_scale_inv|weight_packed|input_scale|_packed_params)$"), "compressed weights"),
)
_WEIGHT = re.compile(r"(^|\.)(weight|bias)$")
_ADAPTER = re.compile(r"(^|[._])(lora_(A|B|down|up|embedding_A|embedding_B)|hada_w\d_a|lokr_w\d)(\.|$)")


def float_weights(path: Path, named: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """The tensors on the CPU, those of a float kind as float32; others (integer buffers) as stored.

    Args:
        path: the checkpoint, for messages.
        named: its tensors.
        size: of its files in bytes.

    Raises:
        MptqError: they are quantized, an adapter or no plain numbers, one is larger than the file, or holds NaN or Inf.
    """
    check_names(path, named)
    return {name: _float_weight(path, name, stored.detach(), size) for name, stored in named.items()}


def check_names(path: Path, names: Collection[str]) -> None:
    """Refuse what is no float model by the names of its tensors.

    Raises:
        MptqError: they are quantized, or an adapter.
    """
    for pattern, what in _QUANTIZED:
        found = next(filter(pattern.search, names), None)
        if found is not None:
            raise MptqError(f"{path}: its weights are quantized already ({what}: {found}); {_FLOAT_MODEL}")
    adapter = next(filter(_ADAPTER.search, names), None)
    if adapter is not None:
        mend = "save what peft's merge_and_unload() gives"
        if any(".base_layer." in name for name in names):
            raise MptqError(f"{path} has an adapter (LoRA) that is not merged ({adapter}); {mend}")
        raise MptqError(
            f"{path} is an adapter (LoRA) without its base model ({adapter}); {mend}, or name the folder of its "
            "adapter_config.json, with --base"
        )


def _float_weight(path: Path, name: str, tensor: Tensor, size: int) -> Tensor:
    kind = type(tensor)
    if kind is not Tensor:
        if kind.__module__.startswith("torch.distributed"):
            raise MptqError(f"{path} {PIECES}")
        raise MptqError(f"{path}: tensor {name} is a {kind.__name__}; save a state_dict of plain tensors")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
        raise MptqError(f"{path}: tensor {name} is no plain tensor of numbers; save a state_dict of a float model")
    if tensor.numel() * tensor.element_size() > size:
        raise MptqError(
            f"{path}: tensor {name} {list(tensor.shape)} is larger than the file; it is corrupt, get it again"
        )
    floats = tensor.is_floating_point()
    if (floats and tensor.element_size() < 2) or (not floats and _WEIGHT.search(name)):
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise MptqError(f"{path}: tensor {name} is quantized already ({dtype}); {_FLOAT_MODEL}")
    if not floats:
        return tensor
    tensor = tensor.to(torch.float32)
    bad = int(tensor.numel() - torch.isfinite(tensor).sum())
    if bad:
        raise MptqError(
            f"{path}: tensor {name} holds {bad} NaN or Inf in {tensor.numel()} values; training diverged or the file "
            "is damaged, use another checkpoint"
        )
    return tensor
