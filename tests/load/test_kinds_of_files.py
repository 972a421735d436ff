"""A row a kind of file: whatever training code wrote, the same tensors and names; or a line with a way out."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.load.file.checkpoint import Checkpoint, read_checkpoint
from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

NAME = "vit_tiny_patch16_224"
KWARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 3}
Tensors = dict[str, Tensor]


def model(name: str = NAME, **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = timm.create_model(name, **{**KWARGS, **kwargs})
    return built


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return dict(model().state_dict())


def other(tensors: Tensors) -> Tensors:
    """Other weights of the same model: taken in silence they would be a wrong model."""
    return {name: tensor + 1 for name, tensor in tensors.items()}


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def inside(part: str, tensors: Tensors) -> Tensors:
    return {name.replace("blocks.1.", f"blocks.1.{part}."): tensor for name, tensor in tensors.items()}


def same(found: Tensors, tensors: Tensors) -> bool:
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


LOSS = {"criterion.weight": torch.ones(3), "train_acc.total": torch.ones(1)}
DINO_HEAD = {"head.mlp.0.weight": torch.ones(4, 32), "head.last_layer.weight_v": torch.ones(4, 4)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3), "step": 1}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
LIGHTNING = {
    "epoch": 3,
    "pytorch-lightning_version": "2.4.0",
    "hyper_parameters": {"lr": 0.1},
    "callbacks": {"ModelCheckpoint{}": {"best_model_path": "x.ckpt", "best_model_score": torch.tensor(1.0)}},
    "optimizer_states": [OPTIMIZER],
    "loops": {"fit_loop": {"state_dict": {}}},
}

#: What is saved, and what is told of it beside the tensors.
SAVED: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "bare": (lambda t: t, "the file's tensors"),
    "OrderedDict": (OrderedDict, "the file's tensors"),
    "state_dict": (lambda t: {"state_dict": t, "epoch": 1, "optimizer": OPTIMIZER}, "state_dict of the file"),
    "model": (lambda t: {"model": t}, "model of the file"),
    "model_state_dict": (lambda t: {"model_state_dict": t, "loss": 0.1}, "model_state_dict of the file"),
    "net": (lambda t: {"net": t, "acc": 93.1}, "net of the file"),
    "network": (lambda t: {"network": t}, "network of the file"),
    "weights": (lambda t: {"weights": t}, "weights of the file"),
    "params": (lambda t: {"params": t}, "params of the file"),
    "params_ema": (lambda t: {"params": other(t), "params_ema": t}, "params_ema of the file, an average"),
    "module": (lambda t: {"module": t}, "module of the file"),
    "own key": (lambda t: {"my_vit": t, "epoch": 3}, "my_vit of the file"),
    "nested": (lambda t: {"model": {"state_dict": t, "epoch": 3}}, "model.state_dict of the file"),
    "nested module": (lambda t: {"ema": {"module": t, "decay": 0.99}}, "ema.module of the file, an average"),
    "ema": (
        lambda t: {"model": other(t), "ema": t},
        "ema of the file, an average over training steps (model not taken)",
    ),
    "state_dict_ema": (
        lambda t: {"state_dict": other(t), "state_dict_ema": under("module.", t)},
        "state_dict_ema of the file, an average over training steps (state_dict not taken)",
    ),
    "another part": (lambda t: {"model": t, "decoder": {"a.b": torch.ones(1)}}, "(decoder not taken)"),
    "DataParallel": (lambda t: under("module.", t), "the file's tensors"),
    "compiled": (lambda t: under("_orig_mod.", t), "the file's tensors"),
    "compiled DataParallel": (lambda t: under("module._orig_mod.", t), "the file's tensors"),
    "compiled block": (lambda t: inside("_orig_mod", t), "the file's tensors"),
    "FSDP": (lambda t: under("_fsdp_wrapped_module.", inside("_fsdp_wrapped_module", t)), "the file's tensors"),
    "checkpointed block": (lambda t: inside("_checkpoint_wrapped_module", t), "the file's tensors"),
    "SWA": (lambda t: {**under("module.", t), "n_averaged": torch.tensor(3)}, "n_averaged left out"),
    "Lightning": (lambda t: {"state_dict": under("model.", t), **LIGHTNING}, "state_dict of the file, under model."),
    "Lightning with metrics": (
        lambda t: {"state_dict": {**under("net.", t), **LOSS}, **LIGHTNING},
        "criterion.weight and 1 more like it left out: a loss or a metric of training",
    ),
    "Lightning, DDP inside": (lambda t: {"state_dict": under("model.module.", t), **LIGHTNING}, "under model.module."),
    "Lightning with an average": (
        lambda t: {"state_dict": under("model.", other(t)) | under("model_ema.module.", t)},
        "under model_ema.module., an average over training steps (model. not taken)",
    ),
    "LitEma": (
        lambda t: {
            "state_dict": under("model.", t)
            | {"model_ema." + name.replace(".", ""): tensor + 1 for name, tensor in t.items()}
            | {"model_ema.decay": torch.tensor(0.9)}
        },
        "more like it left out: an average of the weights under names of its own",
    ),
    "any prefix": (lambda t: under("my_own.wonderful.", t), "under my_own.wonderful."),
    "backbone": (lambda t: under("backbone.", t), "under backbone."),
    "encoder": (lambda t: {"state_dict": under("encoder.", t), "arch": NAME}, "under encoder."),
    "DINO": (
        lambda t: {
            "student": under("module.backbone.", other(t)) | under("module.", DINO_HEAD),
            "teacher": under("backbone.", t) | DINO_HEAD,
            "epoch": 3,
            "dino_loss": {"center": torch.ones(1, 4)},
        },
        "teacher of the file, under backbone. (student, dino_loss not taken)",
    ),
    "DINO in Lightning": (
        lambda t: {"state_dict": under("student.backbone.", other(t)) | under("teacher.backbone.", t)},
        "under teacher.backbone. (student. not taken)",
    ),
    "DINOv2": (
        lambda t: {"teacher": under("backbone.", t) | {"dino_head.last_layer.weight_g": torch.ones(3)}},
        "dino_head.last_layer.weight_g left out: a projection head",
    ),
    "SimMIM": (
        lambda t: {
            "model": under("encoder.", t) | {"encoder.mask_token": torch.ones(1), "decoder.0.weight": torch.ones(2)}
        },
        "decoder.0.weight left out: it rebuilds masked patches",
    ),
    "DeepSpeed": (
        lambda t: {"module": t, "optimizer": None, "ds_config": {}, "ds_version": "0.15", "param_shapes": []},
        "module of the file",
    ),
    "bfloat16": (lambda t: {"model": t}, "model of the file"),
    "numbers among them": (
        lambda t: {**t, "epoch": 3, "blocks.0._extra_state": None},
        "epoch left out: it is no tensor",
    ),
    "arrays": (lambda t: {"model": {name: tensor.numpy() for name, tensor in t.items()}}, "model of the file"),
}
SUFFIXES = ("pt", "pth", "pth.tar", "ckpt", "bin", "PTH", "safetensors", "")


def told(found: Checkpoint) -> str:
    return " | ".join((found.weights, *found.notes))


@pytest.mark.parametrize("kind", SAVED)
def test_what_training_code_saves(tmp_path: Path, tensors: Tensors, kind: str):
    made, says = SAVED[kind]
    path = tmp_path / "m.ckpt"
    torch.save(made(tensors), path)
    found = read_checkpoint(path)
    if kind not in ("any prefix", "SimMIM"):  # what the model's names tell, or a token that it need not have
        assert same(found.state_dict, tensors)
        assert says in told(found)
    loaded = load_model(path, arch=NAME, model_kwargs=KWARGS)
    assert same(dict(loaded.model.state_dict()), tensors)
    assert says in " | ".join((loaded.weights, *loaded.notes))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "safetensors"])
def test_the_suffix_says_nothing(tmp_path: Path, tensors: Tensors, suffix: str, how: str):
    path = tmp_path / f"model_best{'.' if suffix else ''}{suffix}"
    if how == "safetensors":
        save_file(tensors, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": tensors}))
    else:
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=how == "zip")
    assert same(read_checkpoint(path).state_dict, tensors)


def test_a_real_average(tmp_path: Path):
    averaged = AveragedModel(model())
    averaged.update_parameters(model(drop_rate=0.1))
    torch.save(averaged.state_dict(), tmp_path / "m.pt")
    assert same(read_checkpoint(tmp_path / "m.pt").state_dict, dict(averaged.module.state_dict()))


def test_an_architecture_is_found_behind_a_prefix(tmp_path: Path):
    own = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=2)
    torch.save({"state_dict": under("wrapped.it.", own.state_dict()) | LOSS}, tmp_path / "m.ckpt")
    loaded = load_model(tmp_path / "m.ckpt", arch=NAME, model_kwargs={"depth": 1})
    assert same(dict(loaded.model.state_dict()), dict(own.state_dict()))


@pytest.mark.skipif(not timm.is_model("qwen3_vit_88m"), reason="this version of timm has no such model")
@pytest.mark.parametrize("prefix", ["", "model.", "model.module."])
def test_a_model_whose_own_names_look_wrapped(tmp_path: Path, prefix: str):
    """All names of this one begin with `encoder.`."""
    own = timm.create_model("qwen3_vit_88m", depth=1, embed_dim=64, num_heads=2)
    torch.save(under(prefix, own.state_dict()), tmp_path / "m.pt")
    wanted = list(own.state_dict())
    found = read_checkpoint(tmp_path / "m.pt").named_for(wanted)
    assert (list(found.state_dict), found.prefix) == (wanted, prefix)


# -- names that only look wrapped --------------------------------------------------------------------------------------

WHOLE: dict[str, list[str]] = {
    "a part of the model": ["module.a.weight", "b.weight"],
    "a head alone": ["head.weight", "head.bias"],
    "a list of layers": ["layers.0.weight", "layers.1.weight"],
    "a classifier of one's own": ["backbone.patch_embed.proj.weight", "backbone.cls_token", "head.weight"],
    "a classifier with an MLP": ["backbone.patch_embed.proj.weight", "backbone.cls_token", "head.mlp.0.weight"],
    "mmpretrain": ["backbone.patch_embed.projection.weight", "backbone.layers.0.ln1.weight", "head.layers.head.weight"],
    "torchvision": ["class_token", "conv_proj.weight", "encoder.pos_embedding", "encoder.layers.a.ln_1.weight"],
    "transformers": ["vit.embeddings.cls_token", "vit.encoder.layer.0.x.weight", "classifier.weight"],
    "OpenCLIP": ["visual.trunk.patch_embed.proj.weight", "visual.head.proj.weight", "text.x.weight", "logit_scale"],
    "two models": ["net.a.b.weight", "backbone.c.d.weight"],
    "a frozen teacher of another size": ["student.a.b.weight", "teacher.a.b.weight", "teacher.a.c.weight"],
    "a normalisation of its own": ["model.a.b.weight", "mean", "std"],
    "names that would collide": ["a._orig_mod.weight", "a.weight"],
}


@pytest.mark.parametrize("kind", WHOLE)
def test_names_stay_where_something_else_may_matter(tmp_path: Path, kind: str):
    torch.save({name: torch.ones(2, 2) for name in WHOLE[kind]}, tmp_path / "m.pt")
    found = read_checkpoint(tmp_path / "m.pt")
    assert (list(found.state_dict), found.prefix, found.beside) == (WHOLE[kind], "", {})


@pytest.mark.parametrize("said", [{}, {"arch": NAME, "model_kwargs": KWARGS}], ids=["", "arch"])
def test_a_classifier_beside_the_backbone_is_not_dropped(tmp_path: Path, tensors: Tensors, said: dict[str, Any]):
    torch.save(
        {"state_dict": under("backbone.", tensors) | {"classifier.0.weight": torch.ones(5, 3)}}, tmp_path / "m.pt"
    )
    with pytest.raises(MptqError, match=r"begin with 'backbone\.', but not classifier\.0\.weight: save the"):
        load_model(tmp_path / "m.pt", **said)


# -- what is refused ---------------------------------------------------------------------------------------------------


def lora(tensors: Tensors) -> Tensors:
    return {f"base_model.model.blocks.0.attn.qkv.lora_{part}.weight": torch.ones(2, 2) for part in "AB"}


REFUSED: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "ZeRO": (
        lambda t: {"module": {name: torch.empty(0) for name in t}, "ds_version": "0.15"},
        "DeepSpeed, with partitioned weights; join them: python zero_to_fp32.py",
    ),
    "ZeRO's optimizer": (
        lambda t: {"optimizer_state_dict": OPTIMIZER, "ds_version": "1"},
        "DeepSpeed, with partitioned",
    ),
    "two state dicts": (lambda t: {"encoder": t, "decoder": other(t)}, "holds several state dicts (encoder, decoder)"),
    "LoRA": (lora, "is an adapter (LoRA) without its base model"),
    "LoRA in the model": (
        lambda t: t | {"blocks.0.attn.qkv.base_layer.weight": torch.ones(2, 2)} | lora(t),
        "has an adapter (LoRA) that is not merged",
    ),
    "bitsandbytes": (lambda t: t | {"head.SCB": torch.ones(3)}, "quantized already (bitsandbytes: head.SCB)"),
    "GPTQ": (lambda t: t | {"head.qweight": torch.ones(3, dtype=torch.int32)}, "quantized already (GPTQ or AWQ"),
    "float8": (
        lambda t: t | {"head.weight": t["head.weight"].to(torch.float8_e4m3fn)},
        "quantized already (float8_e4m3fn)",
    ),
    "int8": (lambda t: t | {"head.weight": torch.ones(3, 32, dtype=torch.int8)}, "quantized already (int8)"),
    "dynamically quantized": (
        lambda t: torch.ao.quantization.quantize_dynamic(model(), {nn.Linear}).state_dict(),
        "quantized already (compressed weights: blocks.0.attn.qkv._packed_params._packed_params)",
    ),
    "an optimizer": (lambda t: OPTIMIZER, "holds no state dict (found: state, param_groups)"),
    "a tensor": (lambda t: t["head.weight"], "holds no state dict (found: Tensor)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_line_with_a_way_out(tmp_path: Path, tensors: Tensors, kind: str):
    made, says = REFUSED[kind]
    torch.save(made(tensors), tmp_path / "m.pt")
    with pytest.raises(MptqError) as caught:
        read_checkpoint(tmp_path / "m.pt")
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03\x00", "quantized already"),
        (b"\x93NUMPY\x01\x00", "an array of NumPy"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x05\x06" + bytes(18), "neither a file of torch.save nor safetensors"),
        (bytes(2000), "neither a file of torch.save nor safetensors"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, start: bytes, says: str):
    (tmp_path / "m.pt").write_bytes(start)
    with pytest.raises(MptqError, match=says):
        read_checkpoint(tmp_path / "m.pt")


# -- folders and shards ------------------------------------------------------------------------------------------------


def sharded(folder: Path, tensors: Tensors, suffix: str = "safetensors") -> Path:
    """Two shards with their index, as transformers writes them."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    places: dict[str, str] = {}
    for number in range(2):
        name = f"{stem}-0000{number + 1}-of-00002.{suffix}"
        part = dict(list(tensors.items())[number::2])
        save_file(part, folder / name) if suffix == "safetensors" else torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_by_their_index_or_their_folder(tmp_path: Path, tensors: Tensors, suffix: str):
    index = sharded(tmp_path, under("model.", tensors), suffix)
    for named in (index, tmp_path):
        found = read_checkpoint(named)
        assert same(found.state_dict, tensors) and found.path == index


def test_shards_that_lie_elsewhere_by_links(tmp_path: Path, tensors: Tensors):
    """As in the cache of a hub."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    sharded(tmp_path / "blobs", tensors)
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert same(read_checkpoint(tmp_path / "snapshot").state_dict, tensors)


FIRST = "model-00001-of-00002.safetensors"
BROKEN: dict[str, tuple[Callable[[Path, dict[str, str]], Any], str]] = {
    "a shard is missing": (lambda folder, places: (folder / FIRST).unlink(), f"needs {FIRST}, which is not beside it"),
    "a shard is no file": (
        lambda folder, places: ((folder / FIRST).unlink(), (folder / FIRST).mkdir()),
        "is not beside it",
    ),
    "a shard is cut short": (
        lambda folder, places: (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:-9]),
        "truncated or corrupt",
    ),
    "a shard is an index": (
        lambda folder, places: (folder / FIRST).write_text('{"weight_map": {}}'),
        "is an index in an index",
    ),
    "a tensor is missing": (lambda folder, places: places.update(more=FIRST), "lacks more, other than"),
    "a tensor is not listed": (lambda folder, places: places.pop("head.bias"), "also holds head.bias, other than"),
    "a path": (lambda folder, places: places.update(more="../secret.safetensors"), "which is not a file beside it"),
    "an absolute path": (lambda folder, places: places.update(more="/etc/passwd"), "which is not a file beside it"),
    "the folder above": (lambda folder, places: places.update(more=".."), "which is not a file beside it"),
    "a number": (lambda folder, places: places.update(more=3), "its weight_map names no files"),
    "nothing": (lambda folder, places: places.clear(), "its weight_map names no files"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_shards_that_do_not_fit_their_index(tmp_path: Path, tensors: Tensors, kind: str):
    index = sharded(tmp_path, tensors)
    stored = json.loads(index.read_text())
    change, says = BROKEN[kind]
    change(tmp_path, stored["weight_map"])
    index.write_text(json.dumps(stored))
    with pytest.raises(MptqError) as caught:
        read_checkpoint(tmp_path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"weight_map": [', '{"weight_map": ' + "[" * 100_000, '{"weight_map": 3}', '{"a": "weight_map"}']
)
def test_an_index_that_is_none(tmp_path: Path, text: str):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(MptqError, match=r"model\.safetensors\.index\.json"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ((".metadata", "__0_0.distcp"), "is a distributed checkpoint; join it to one file"),
        (("zero_to_fp32.py", "latest"), "DeepSpeed's, with partitioned weights"),
        (("data.pkl", "version"), "an unpacked archive of torch.save"),
        (("notes.txt",), "is a folder without weights"),
        ((), "is a folder without weights"),
    ],
)
def test_folders_of_other_kinds(tmp_path: Path, files: tuple[str, ...], says: str):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(MptqError, match=says):
        read_checkpoint(tmp_path)


def test_the_only_checkpoint_in_a_folder(tmp_path: Path, tensors: Tensors):
    (tmp_path / "notes.txt").write_text("about it")
    torch.save({"state_dict": tensors}, tmp_path / "best.ckpt")
    assert same(read_checkpoint(tmp_path).state_dict, tensors)
    save_file(tensors, tmp_path / "best.recipe.safetensors")  # an export has one
    assert same(read_checkpoint(tmp_path).state_dict, tensors)
    torch.save({"state_dict": tensors}, tmp_path / "last.ckpt")
    with pytest.raises(MptqError, match=r"a folder of 2 checkpoints \(best.ckpt, last.ckpt\); name one of them"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("named", ["", "model.safetensors.index.json"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json", FIRST])
def test_nothing_that_is_read_is_written_over(tmp_path: Path, tensors: Tensors, named: str, file: str):
    sharded(tmp_path, tensors)
    (tmp_path / "config.json").write_text("{}")
    outputs = Outputs(tmp_path / "m.onnx", json=tmp_path / file, force=True)
    with pytest.raises(MptqError, match="names the checkpoint"):
        outputs.check(Uniform(), str(tmp_path / named))
    for again in ("m.onnx", "m.recipe.json", "m.recipe.safetensors", "m.report.json"):
        (tmp_path / again).write_text("{}")
    Outputs(tmp_path / "m.onnx", json=tmp_path / "m.json", force=True).check(Uniform(), str(tmp_path / named))


@pytest.mark.parametrize("damage", [b"\xff" * 40, b""])
def test_arrays_that_are_damaged(tmp_path: Path, damage: bytes):
    np.savez_compressed(tmp_path / "m.npz", weight=np.random.default_rng(0).normal(size=999))
    data = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(data[:2000] + damage + data[2040:])
    with pytest.raises(MptqError, match=r"m\.npz"):
        read_checkpoint(tmp_path / "m.npz")
