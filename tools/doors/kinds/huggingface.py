"""Folders as transformers writes them: weights, config.json, preprocessor_config.json."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from tools.conformance.transformers_models import BY_NAME, Architecture, Config, Unmasked
from tools.doors.kind import Exports, Kind, Refused
from tools.doors.small import CLASSES, IMAGENET, VIT
from tools.random_weights import seeded

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_CLIP: dict[str, Any] = {"mean": _CLIP_MEAN, "std": _CLIP_STD}
_LABELS = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: n for n, name in enumerate(CLASSES)}}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION = dict(BY_NAME["CLIPVisionModel"].arguments)
Outputs = Callable[[nn.Module, Tensor], Mapping[str, Tensor]]


def all_outputs(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Every tensor that the model gives, by the library's name."""
    return {name: value for name, value in model(pixel_values=x).items() if isinstance(value, Tensor)}


def small(name: str, **changed: Any) -> Any:
    """The small model of a class, with weights of ours."""
    found = BY_NAME[name]
    labels = _LABELS if "num_labels" in found.arguments else {}
    arguments = {k: v for k, v in found.arguments.items() if k != "num_labels" or not labels}
    return Architecture(found.model, found.config, {**arguments, **labels, **changed}, found.side).filled()


def write_processor(folder: Path, name: str = "ViTImageProcessor", side: int = 32, **changed: Any) -> None:
    """preprocessor_config.json of a square image."""
    size = {"height": side, "width": side}
    getattr(transformers, name)(**{"size": size, **changed}).save_pretrained(folder)


def _folder(
    folder: Path,
    *,
    name: str,
    processor: str = "ViTImageProcessor",
    outputs: Outputs = all_outputs,
    input_: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Exports:
    """A folder of a class's `save_pretrained` and its processor's."""
    model, side = small(name), BY_NAME[name].side
    model.save_pretrained(folder / "folder")
    write_processor(folder / "folder", processor, side, **changed)
    labels = CLASSES if name.endswith("ImageClassification") or "Teacher" in name else None
    wanted = partial(outputs, model)
    return Exports("folder", wanted, (3, side, side), options or {}, class_names=labels, **(input_ or {}))


def _clip_processor(side: int = 32) -> dict[str, Any]:
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def _mae(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The encoder of all patches in their order: without the noise that shuffles them."""
    found: dict[str, Tensor] = Unmasked(model)(x)
    return found


def _mae_pretraining(folder: Path) -> Exports:
    """ViTMAEForPreTraining: the encoder, and a decoder that nobody deploys."""
    arguments = {**BY_NAME["ViTMAEModel"].arguments, "mask_ratio": 0.75}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = transformers.ViTMAEConfig(**arguments, **decoder, decoder_intermediate_size=32)
    model = seeded(transformers.ViTMAEForPreTraining(config))
    model.save_pretrained(folder / "folder")
    write_processor(folder / "folder", **_means(IMAGENET))
    encoder = transformers.ViTMAEModel(transformers.ViTMAEConfig(**{**arguments, "mask_ratio": 0.0}, **decoder))
    encoder.load_state_dict(model.vit.state_dict())
    return Exports("folder", partial(_mae, encoder.eval()), **IMAGENET)


def _means(input_: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_mean": list(input_["mean"]), "image_std": list(input_["std"])}


def _both_towers(folder: Path, *, siglip: bool) -> Exports:
    """A whole CLIP or SigLIP: the vision tower is what goes into the file."""
    if siglip:
        config = transformers.SiglipConfig(text_config=_TEXT, vision_config=_VISION)
        model = seeded(transformers.SiglipModel(config))
    else:
        config = transformers.CLIPConfig(text_config=_TEXT, vision_config=_VISION, projection_dim=16)
        model = seeded(transformers.CLIPModel(config))
    model.save_pretrained(folder / "folder")
    changed = {} if siglip else _clip_processor()
    write_processor(folder / "folder", "SiglipImageProcessor" if siglip else "CLIPImageProcessor", **changed)

    def outputs(x: Tensor) -> dict[str, Tensor]:
        plain = model.vision_model(pixel_values=x)
        embeds = plain.pooler_output if siglip else model.visual_projection(plain.pooler_output)
        pooled = {"pooler_output": plain.pooler_output, "last_hidden_state": plain.last_hidden_state}
        return {**pooled, "image_embeds": embeds}

    return Exports("folder", outputs, **({} if siglip else _CLIP))


def _rewritten(folder: Path, rewrite: Callable[[Path, Any], None], given: str = "folder", **options: Any) -> Exports:
    """A classifier's folder, changed as people's are."""
    exports = _folder(folder, name="ViTForImageClassification")
    rewrite(folder / "folder", exports)
    return Exports(given, exports.outputs, exports.size, options, class_names=CLASSES)


def _pickled(folder: Path, _: object) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _sharded(folder: Path, _: object) -> None:
    (folder / "model.safetensors").unlink()
    small("ViTForImageClassification").save_pretrained(folder, max_shard_size="30KB")
    assert (folder / "model.safetensors.index.json").exists()


def _trained(folder: Path, _: object) -> None:
    """What Trainer leaves beside a checkpoint."""
    arguments = transformers.TrainingArguments(output_dir=str(folder), report_to=[])
    torch.save(arguments, folder / "training_args.bin")
    torch.save({"state": {}, "param_groups": []}, folder / "optimizer.pt")
    torch.save({"python": (3, (1,)), "cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    transformers.TrainerState(global_step=500).save_to_json(str(folder / "trainer_state.json"))


def _in_half(folder: Path) -> Exports:
    """Weights in bfloat16: the original computes in float32 with those values."""
    model = small("ViTForImageClassification").bfloat16()
    model.save_pretrained(folder / "folder")
    write_processor(folder / "folder")
    return Exports("folder", partial(all_outputs, model.float()), class_names=CLASSES)


def _without_processor(folder: Path) -> Exports:
    exports = _folder(folder, name="ViTForImageClassification")
    (folder / "folder" / "preprocessor_config.json").unlink()
    return Exports("folder", exports.outputs, options=IMAGENET, class_names=CLASSES, **IMAGENET)


def _timm_wrapper(folder: Path) -> Exports:
    """TimmWrapperForImageClassification: timm's model in a folder of transformers."""
    arguments = {name: value for name, value in VIT.items() if name != "num_classes"}
    config = transformers.TimmWrapperConfig(architecture="vit_tiny_patch16_224", model_args=arguments, **_LABELS)
    model = seeded(transformers.TimmWrapperForImageClassification(config))
    model.save_pretrained(folder / "folder")
    assert any(isinstance(each, timm.models.VisionTransformer) for each in model.modules())
    return Exports("folder", lambda x: {"logits": model(pixel_values=x).logits}, class_names=CLASSES)


def _backbone(folder: Path) -> Exports:
    """Dinov2Backbone: the map of one stage."""
    arguments = {**BY_NAME["Dinov2Model"].arguments, "out_features": ["stage2"]}
    model = seeded(transformers.Dinov2Backbone(transformers.Dinov2Config(**arguments)))
    model.save_pretrained(folder / "folder")
    write_processor(folder / "folder", **_means(IMAGENET))
    return Exports("folder", lambda x: {"stage2": model(pixel_values=x).feature_maps[0]}, **IMAGENET)


def _depth_anything(folder: Path) -> Exports:
    found = BY_NAME["DepthAnythingForDepthEstimation"]
    assert isinstance(found.arguments["backbone_config"], Config)
    return _folder(
        folder, name=found.model, processor="DPTImageProcessor", do_pad=False, **_means(IMAGENET), input_=IMAGENET
    )


def _lone(folder: Path) -> Refused:
    """The weights alone, without config.json: which model they are shows, not how it computes."""
    small("ViTForImageClassification").save_pretrained(folder / "folder")
    (folder / "folder" / "config.json").unlink()
    return Refused("folder/model.safetensors", (r"transformers|Hugging Face", r"config\.json"))


_LIBRARY = ("transformers", "torch")
_IMAGENET_FOLDER = {"input_": IMAGENET, **_means(IMAGENET)}


def _kind(name: str, title: str, **about: Any) -> Kind:
    return Kind(f"HF folder: {title}", _LIBRARY, partial(_folder, name=name, **about))


_CLIP_FOLDER = {"processor": "CLIPImageProcessor", "input_": _CLIP, **_clip_processor()}

KINDS = (
    _kind("ViTForImageClassification", "ViT, classifier"),
    _kind("ViTModel", "ViT, encoder"),
    _kind(
        "DeiTForImageClassification", "DeiT", processor="DeiTImageProcessor", do_center_crop=False, **_IMAGENET_FOLDER
    ),
    _kind(
        "DeiTForImageClassificationWithTeacher",
        "DeiT, both heads",
        processor="DeiTImageProcessor",
        do_center_crop=False,
        **_IMAGENET_FOLDER,
    ),
    _kind("BeitForImageClassification", "BEiT", processor="BeitImageProcessor", do_center_crop=False),
    _kind("SwinForImageClassification", "Swin", **_IMAGENET_FOLDER),
    _kind("Swinv2ForImageClassification", "Swin V2", **_IMAGENET_FOLDER),
    _kind("Dinov2Model", "DINOv2, encoder", processor="BitImageProcessor", **_clip_processor(), **_IMAGENET_FOLDER),
    _kind(
        "Dinov2ForImageClassification",
        "DINOv2, classifier",
        processor="BitImageProcessor",
        **_clip_processor(),
        **_IMAGENET_FOLDER,
    ),
    _kind(
        "Dinov2WithRegistersModel",
        "DINOv2 with registers",
        processor="BitImageProcessor",
        **_clip_processor(),
        **_IMAGENET_FOLDER,
    ),
    Kind("HF folder: DINOv2, backbone", _LIBRARY, _backbone),
    _kind("DINOv3ViTModel", "DINOv3 ViT", processor="DINOv3ViTImageProcessor", **_IMAGENET_FOLDER),
    _kind("CLIPVisionModel", "CLIP, vision tower", **_CLIP_FOLDER),
    _kind("CLIPVisionModelWithProjection", "CLIP, vision tower with projection", **_CLIP_FOLDER),
    Kind("HF folder: CLIP, both towers", _LIBRARY, partial(_both_towers, siglip=False)),
    _kind("SiglipVisionModel", "SigLIP, vision tower", processor="SiglipImageProcessor"),
    Kind("HF folder: SigLIP, both towers", _LIBRARY, partial(_both_towers, siglip=True)),
    _kind("ViTMAEModel", "MAE, encoder", outputs=_mae, **_IMAGENET_FOLDER),
    Kind("HF folder: MAE with its decoder", _LIBRARY, _mae_pretraining),
    _kind("YolosForObjectDetection", "YOLOS", processor="YolosImageProcessor", do_pad=False, **_IMAGENET_FOLDER),
    _kind(
        "SegformerForImageClassification",
        "SegFormer, classifier",
        processor="SegformerImageProcessor",
        **_IMAGENET_FOLDER,
    ),
    _kind(
        "SegformerForSemanticSegmentation",
        "SegFormer, segmentation",
        processor="SegformerImageProcessor",
        **_IMAGENET_FOLDER,
    ),
    _kind("SamVisionModel", "SAM, encoder", **_IMAGENET_FOLDER),
    _kind("DPTForDepthEstimation", "DPT", processor="DPTImageProcessor", do_pad=False),
    Kind("HF folder: Depth Anything", _LIBRARY, _depth_anything),
    _kind("ViTMSNForImageClassification", "ViT-MSN", **_IMAGENET_FOLDER),
    Kind("HF folder: timm's model in TimmWrapper", ("transformers", "timm"), _timm_wrapper),
    Kind("HF folder: in shards", _LIBRARY, partial(_rewritten, rewrite=_sharded)),
    Kind("HF folder: bfloat16", _LIBRARY, _in_half),
    Kind("HF folder: pytorch_model.bin (--trust)", _LIBRARY, partial(_rewritten, rewrite=_pickled, trust=True)),
    Kind("HF folder: checkpoint of Trainer", _LIBRARY, partial(_rewritten, rewrite=_trained)),
    Kind(
        "HF folder: its model.safetensors",
        _LIBRARY,
        partial(_rewritten, rewrite=lambda *_: None, given="folder/model.safetensors"),
    ),
    Kind("HF folder: no preprocessor_config.json", _LIBRARY, _without_processor),
    Kind("safetensors of HF alone", _LIBRARY, _lone),
)
