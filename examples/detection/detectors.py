"""The three detectors of the demo, as a user writes them: torchvision's and transformers' modules around a Swin or ViT.

Each factory builds its module with random weights, or with those of its file beside this one:

    mptq-export detectors:fcos ...      # run in this folder
"""

from pathlib import Path

import timm
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection import FCOS, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool
from transformers import YolosConfig, YolosForObjectDetection

SIZE = 128
CLASSES = 10
#: Of all three: pixels of 0..1 become -1..1.
MEAN = STD = (0.5, 0.5, 0.5)
INPUT = {"min_size": SIZE, "max_size": SIZE, "image_mean": list(MEAN), "image_std": list(STD)}


class SwinPyramid(nn.Module):
    """A Swin transformer of timm, a layer norm for each of its maps, and torchvision's feature pyramid.

    Maps of strides 4, 8, 16 and 32, named "0" to "3".
    """

    def __init__(self, width: int, depths: tuple[int, ...], out_channels: int, extra: ExtraFPNBlock | None) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.swin = timm.create_model(
            "swin_tiny_patch4_window7_224",
            features_only=True,
            img_size=SIZE,
            window_size=4,
            embed_dim=width,
            depths=depths,
            num_heads=tuple(width * 2**stage // 16 for stage in range(len(depths))),
            drop_path_rate=0.0,
        )
        channels = self.swin.feature_info.channels()
        self.norms = nn.ModuleList(nn.LayerNorm(number) for number in channels)
        self.pyramid = FeaturePyramidNetwork(channels, out_channels, extra_blocks=extra)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images [B, 3, SIZE, SIZE] to maps [B, out_channels, H, W]."""
        maps = zip(self.norms, self.swin(images), strict=True)  # timm's Swin has its channels last
        return self.pyramid({str(level): norm(x).permute(0, 3, 1, 2) for level, (norm, x) in enumerate(maps)})


def build_fcos() -> FCOS:
    """FCOS on strides 4 to 32, random weights. Labels 0 to 9."""
    backbone = SwinPyramid(width=24, depths=(2, 2, 2, 1), out_channels=64, extra=None)
    return FCOS(
        backbone,
        CLASSES,
        # Half of each stride: digits of up to 16 pixels are found on the finest map, of 64 on the third.
        anchor_generator=AnchorGenerator(((2,), (4,), (8,), (16,)), ((1.0,),) * 4),
        head=FCOSHead(64, 1, CLASSES, num_convs=2),
        center_sampling_radius=2.5,
        score_thresh=0.05,
        topk_candidates=300,
        **INPUT,
    )


def build_mask_rcnn() -> MaskRCNN:
    """Mask R-CNN with an RPN on strides 4 to 64, random weights. Labels 1 to 10; 0 is the background."""
    backbone = SwinPyramid(width=48, depths=(2, 2, 2, 2), out_channels=96, extra=LastLevelMaxPool())
    levels = ["0", "1", "2", "3"]
    ratios = (0.8, 1.25, 2.0)
    region = {"canonical_scale": 32, "canonical_level": 3}
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((12,), (20,), (32,), (48,), (72,)), (ratios,) * 5),
        rpn_head=RPNHead(96, len(ratios)),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign(levels, 7, 2, **region),
        box_head=TwoMLPHead(96 * 7 * 7, 256),
        box_predictor=FastRCNNPredictor(256, CLASSES + 1),
        box_batch_size_per_image=64,
        mask_roi_pool=MultiScaleRoIAlign(levels, 14, 2, **region),
        mask_head=MaskRCNNHeads(96, (96, 96), 1),
        mask_predictor=MaskRCNNPredictor(96, 96, CLASSES + 1),
        **INPUT,
    )


def build_yolos() -> YolosForObjectDetection:
    """YOLOS with patches of 8 pixels and 24 queries, random weights. Labels 0 to 9; 10 is "no object"."""
    config = YolosConfig(
        hidden_size=192,
        num_hidden_layers=9,
        num_attention_heads=6,
        intermediate_size=768,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        image_size=[SIZE, SIZE],
        patch_size=8,
        num_detection_tokens=24,
        use_mid_position_embeddings=False,
        num_labels=CLASSES,
        id2label={number: str(number) for number in range(CLASSES)},
        label2id={str(number): number for number in range(CLASSES)},
    )
    return YolosForObjectDetection(config)


BUILDERS = {"fcos": build_fcos, "mask_rcnn": build_mask_rcnn, "yolos": build_yolos}
FOLDER = Path(__file__).resolve().parent


def trained(name: str) -> nn.Module:
    """The detector with the weights of NAME.safetensors in this folder (float16 there, float32 in the module)."""
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path}: make it with `python -m tools.train_detection {name}` (README.md)")
    model = BUILDERS[name]()
    model.load_state_dict(load_file(path))
    return model.eval()


def fcos() -> nn.Module:
    """The trained FCOS; its weights are in the repository."""
    return trained("fcos")


def mask_rcnn() -> nn.Module:
    """The trained Mask R-CNN."""
    return trained("mask_rcnn")


def yolos() -> nn.Module:
    """The trained YOLOS."""
    return trained("yolos")
