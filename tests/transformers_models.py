"""Tiny models of transformers, one of each kind that is exported, in folders as the library writes them.

Random weights in which no bias, norm or LayerScale is trivial. Import it after `pytest.importorskip("transformers")`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as library
from torch import nn

CLASSES = 5
NAMES = ("ant", "bee", "cat", "dog", "eel")
_LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: n for n, name in enumerate(NAMES)}}
_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_DINOV2 = {name: value for name, value in _VIT.items() if name != "intermediate_size"}
_SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
    "max_position_embeddings": 8,
}
_CLIP = {"vision_config": _VIT | {"projection_dim": 24}, "text_config": _TEXT, "projection_dim": 24}
_MAE = _VIT | {
    "decoder_num_attention_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}
_SEGFORMER = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [8, 16],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16,
}
_SAM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_dim": 64,
    "image_size": 64,
    "patch_size": 8,
    "output_channels": 16,
    "window_size": 3,
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
}
_SAM_WHOLE = {
    "vision_config": _SAM,
    "prompt_encoder_config": {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
    "mask_decoder_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_dim": 16,
        "iou_head_hidden_dim": 16,
    },
}
_DPT = _VIT | {
    "num_hidden_layers": 4,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 8, 8],
    "fusion_hidden_size": 16,
    "is_hybrid": False,
}


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
        model: name of its class.
        config: name of its configuration's class.
        values: arguments of that.
        size: height and width of its input.
        outputs: what is exported where nobody asks for other outputs: names and kinds.
        processor: what its preprocessor_config.json says, beside `IMAGENET`.
    """

    model: str
    config: str
    values: dict[str, Any]
    outputs: dict[str, str]
    size: int = 32
    processor: dict[str, Any] = field(default_factory=dict)

    @property
    def has_head(self) -> bool:
        """Whether it tells classes."""
        return "logits" in self.outputs


_LOGITS, _POOLED, _TOKENS = {"logits": "logits"}, {"pooler_output": "embedding"}, {"last_hidden_state": "tokens"}
_CROP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}

#: Those that the issue of other people's models names.
KINDS = {
    "vit": Kind("ViTForImageClassification", "ViTConfig", _VIT, _LOGITS),
    "vit_model": Kind("ViTModel", "ViTConfig", _VIT, _POOLED),
    "deit": Kind("DeiTForImageClassification", "DeiTConfig", _VIT, _LOGITS),
    "deit_teacher": Kind("DeiTForImageClassificationWithTeacher", "DeiTConfig", _VIT, _LOGITS),
    "beit": Kind("BeitForImageClassification", "BeitConfig", _VIT | {"use_relative_position_bias": True}, _LOGITS),
    "swin": Kind("SwinForImageClassification", "SwinConfig", _SWIN, _LOGITS),
    "swinv2": Kind("Swinv2ForImageClassification", "Swinv2Config", _SWIN, _LOGITS),
    "dinov2": Kind("Dinov2Model", "Dinov2Config", _DINOV2, _POOLED),
    "dinov2_registers": Kind(
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", _DINOV2 | {"num_register_tokens": 2}, _POOLED
    ),
    "dinov3": Kind("DINOv3ViTModel", "DINOv3ViTConfig", _VIT | {"num_register_tokens": 2}, _POOLED),
    "clip": Kind("CLIPModel", "CLIPConfig", _CLIP, {"image_embeds": "embedding"}, processor=_CROP),
    "clip_vision": Kind("CLIPVisionModel", "CLIPVisionConfig", _VIT, _POOLED, processor=_CROP),
    "siglip": Kind("SiglipModel", "SiglipConfig", {"vision_config": _VIT, "text_config": _TEXT}, _POOLED),
    "siglip_vision": Kind("SiglipVisionModel", "SiglipVisionConfig", _VIT, _POOLED),
    "mae": Kind("ViTMAEForPreTraining", "ViTMAEConfig", _MAE, _TOKENS),
    "yolos": Kind(
        "YolosForObjectDetection",
        "YolosConfig",
        _VIT | {"image_size": [32, 32], "num_detection_tokens": 4},
        {"logits": "choices", "pred_boxes": "boxes"},
    ),
    "segformer": Kind("SegformerForSemanticSegmentation", "SegformerConfig", _SEGFORMER, {"logits": "map"}, 64),
    "segformer_classes": Kind("SegformerForImageClassification", "SegformerConfig", _SEGFORMER, _LOGITS, 64),
    "sam": Kind("SamModel", "SamConfig", _SAM_WHOLE, {"image_embeddings": "map"}, 64),
    "dpt": Kind("DPTForDepthEstimation", "DPTConfig", _DPT, {"predicted_depth": "values"}),
    "depth_anything": Kind(
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            "backbone_config": {
                "model_type": "dinov2",
                "hidden_size": 32,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 7,
                "out_indices": [1, 2, 3, 4],
                "apply_layernorm": True,
                "reshape_hidden_states": False,
            },
            "patch_size": 7,
            "reassemble_hidden_size": 32,
            "neck_hidden_sizes": [8, 8, 8, 8],
            "fusion_hidden_size": 8,
            "head_hidden_size": 8,
        },
        {"predicted_depth": "values"},
        28,
    ),
}

#: Others that come for nothing.
MORE = {
    "data2vec": Kind("Data2VecVisionForImageClassification", "Data2VecVisionConfig", _VIT, _LOGITS),
    "dinov2_classes": Kind("Dinov2ForImageClassification", "Dinov2Config", _DINOV2, _LOGITS),
    "clip_classes": Kind("CLIPForImageClassification", "CLIPConfig", _CLIP, _LOGITS),
    "siglip_classes": Kind(
        "SiglipForImageClassification", "SiglipConfig", {"vision_config": _VIT, "text_config": _TEXT}, _LOGITS
    ),
    "msn": Kind("ViTMSNForImageClassification", "ViTMSNConfig", _VIT, _LOGITS),
    "ijepa": Kind("IJepaForImageClassification", "IJepaConfig", _VIT, _LOGITS),
    "dpt_classes": Kind("DPTForSemanticSegmentation", "DPTConfig", _DPT, {"logits": "map"}),
    "pvt": Kind(
        "PvtForImageClassification",
        "PvtConfig",
        {
            "image_size": 64,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 16, 32],
            "num_attention_heads": [1, 2, 2, 4],
            "num_labels": CLASSES,
        },
        _LOGITS,
        64,
    ),
    "convnextv2": Kind(
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "image_size": 32},
        _LOGITS,
    ),
    "dinov3_convnext": Kind(
        "DINOv3ConvNextModel",
        "DINOv3ConvNextConfig",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "image_size": 32},
        _POOLED,
    ),
    "levit": Kind(
        "LevitForImageClassification",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [1, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        _LOGITS,
        64,
    ),
}


def built(kind: Kind, **values: Any) -> nn.Module:
    """The library's model, with random weights, in evaluation mode."""
    labels = _LABELS if kind.has_head else {}
    torch.manual_seed(0)
    config = getattr(library, kind.config)(**{**kind.values, **labels, **values})
    model: nn.Module = getattr(library, kind.model)(config).eval().requires_grad_(False)
    for path, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if path.endswith(("gamma", "lambda1", "layer_scale.weight")) or ("norm" in path and path.endswith("weight")):
            parameter.copy_(1 + 0.2 * noise)
        elif parameter.dim() == 2 and "table" not in path and "position" not in path:
            parameter.copy_(noise * parameter.shape[1] ** -0.5)
        elif path.endswith("weight") and parameter.dim() == 4:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(0.2 * noise)
    for path, buffer in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            buffer.copy_(buffer + 0.2 * torch.rand_like(buffer))
    return model


def processor_of(kind: Kind) -> dict[str, Any]:
    """What its preprocessor_config.json says."""
    size = {"height": kind.size, "width": kind.size}
    return {
        "image_processor_type": "ViTImageProcessor",
        "size": size,
        "image_mean": [0.5, 0.4, 0.45],
        "image_std": [0.25, 0.2, 0.3],
        "resample": 3,
        **kind.processor,
    }


def saved(
    kind: Kind, folder: Path, *, change: Callable[[nn.Module], None] = lambda _: None, **values: Any
) -> nn.Module:
    """Write a folder as people have it, and give the model that is in it."""
    model: Any = built(kind, **values)
    change(model)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_of(kind)), encoding="utf-8")
    return model
