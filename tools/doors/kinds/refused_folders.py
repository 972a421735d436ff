"""Folders of transformers that have to be refused: another task, another input, weights that do not fit."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from tools.doors.kind import Kind, Refused
from tools.doors.kinds.huggingface import small, write_processor
from tools.doors.small import save
from tools.random_weights import seeded


def _hf(folder: Path, *, build: Callable[[Path], None], says: tuple[str, ...], **options: Any) -> Refused:
    build(folder / "folder")
    return Refused("folder", says, options)


_TEXT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def _bert(folder: Path) -> None:
    seeded(transformers.BertModel(transformers.BertConfig(vocab_size=100, **_TEXT))).save_pretrained(folder)


def _audio(folder: Path) -> None:
    config = transformers.ASTConfig(**_TEXT, max_length=32, num_mel_bins=16)
    seeded(transformers.ASTForAudioClassification(config)).save_pretrained(folder)


def _video(folder: Path) -> None:
    config = transformers.VideoMAEConfig(**_TEXT, image_size=32, patch_size=8, num_frames=2, num_labels=7)
    seeded(transformers.VideoMAEForVideoClassification(config)).save_pretrained(folder)
    write_processor(folder, "ViTImageProcessor")


def _naflex(folder: Path) -> None:
    """SigLIP 2 of any shape: it takes patches, their mask and their shapes."""
    config = transformers.Siglip2VisionConfig(**_TEXT, num_patches=16, patch_size=8)
    seeded(transformers.Siglip2VisionModel(config)).save_pretrained(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)


def _classifier(folder: Path) -> None:
    small("ViTForImageClassification").save_pretrained(folder)
    write_processor(folder)


def _pads(folder: Path) -> None:
    small("YolosForObjectDetection").save_pretrained(folder)
    transformers.YolosImageProcessor().save_pretrained(folder)


def _tiles(folder: Path) -> None:
    _classifier(folder)
    _change(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "do_pad": True,
            "image_grid_pinpoints": [[32, 64], [64, 32]],
            "crop_size": {"height": 32, "width": 32},
        },
    )


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    _classifier(folder)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["vit.layernorm.weight"], state["classifier.weight"]


def _add(state: dict[str, torch.Tensor]) -> None:
    state["vit.layers.7.mlp.fc1.weight"] = torch.zeros(64, 32)


def _own_code(folder: Path) -> None:
    _classifier(folder)
    (folder / "modeling_mine.py").write_text("raise SystemExit('this ran')\n", encoding="utf-8")
    auto = {"AutoConfig": "modeling_mine.MyConfig", "AutoModelForImageClassification": "modeling_mine.MyModel"}
    _change(folder / "config.json", {"auto_map": auto, "model_type": "my_vit", "architectures": ["MyModel"]})


def _pickled(folder: Path) -> None:
    _classifier(folder)
    save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _quantized(folder: Path) -> None:
    _classifier(folder)
    _change(folder / "config.json", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}})


def _tensorflow(folder: Path) -> None:
    _classifier(folder)
    (folder / "model.safetensors").unlink()
    (folder / "tf_model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))


def _change(path: Path, entries: Mapping[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **entries}), encoding="utf-8")


def _refused_folder(name: str, build: Callable[[Path], None], *says: str) -> Kind:
    return Kind(f"HF folder: {name}", ("transformers", "torch"), partial(_hf, build=build, says=says))


KINDS = (
    _refused_folder("text (BERT)", _bert, r"(?i)bert", r"(?i)image|vision|pixel"),
    _refused_folder("audio (AST)", _audio, r"(?i)audio|AST", r"(?i)image|vision|pixel"),
    _refused_folder("video (VideoMAE)", _video, r"(?i)video"),
    _refused_folder("SigLIP 2 of any shape", _naflex, r"(?i)siglip2|pixel_attention_mask|spatial_shapes|patches"),
    _refused_folder("processor that pads", _pads, r"(?i)pad"),
    _refused_folder("processor that tiles", _tiles, r"(?i)tile|pad|LlavaNext"),
    _refused_folder(
        "weights missing",
        partial(_weights, change=_drop),
        r"(?i)missing|lacks",
        r"classifier\.weight|layernorm\.weight",
    ),
    _refused_folder("weights left over", partial(_weights, change=_add), r"layers\.7"),
    _refused_folder("code of its own", _own_code, r"(?i)my_vit|auto_map|MyModel|code"),
    _refused_folder("pytorch_model.bin without --trust", _pickled, r"--trust", r"safetensors"),
    _refused_folder("quantized by bitsandbytes", _quantized, r"(?i)quanti"),
    _refused_folder("TensorFlow's weights", _tensorflow, r"safetensors"),
)
