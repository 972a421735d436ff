"""What a target cannot take of a model is refused before any image is read, with the name of the rule."""

from functools import cache
from pathlib import Path

import pytest
import timm
import tiny_detectors
import torch
from tiny_models import FAMILIES, KINDS, images, prepared
from zoo.dense import DENSE

from mptq_export import load
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import capture
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.refusals import check_layers
from mptq_export.export.rehearsal import rehearse
from mptq_export.support.errors import MptqError
from mptq_export.targets.rules import check_target
from mptq_export.targets.table import TARGETS
from mptq_export.transform.prepare import prepare

ASKED = [name for name, target in TARGETS.items() if target.portable is not None]
QUICK = ("vit", "swin")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in (*KINDS, *FAMILIES)]
)
@pytest.mark.parametrize("target", ASKED)
def test_the_zoo_passes(kind: str, target: str):
    rehearse(prepared(kind), target, lambda _layer: (8, 8), None, "float32")


@cache
def network(kind: str) -> Graph:
    """What a detector of one stage gives at all levels, one of a single position among them."""
    loaded = load(getattr(tiny_detectors, kind)(), img_size=tiny_detectors.SIZE)
    size = loaded.preprocessing.input_size
    graph = capture(loaded.model, size, loaded.outputs)
    return prepare(graph, torch.randn(2, *size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", ["fcos", pytest.param("retinanet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", ASKED)
def test_the_network_of_a_detector_passes(kind: str, target: str):
    """Its maps become rows by groups of channels, and by anchors."""
    rehearse(network(kind), target, lambda _layer: (8, 8), None, "float32")


@cache
def dense(name: str) -> Graph:
    """A model of transformers that gives maps, depth, boxes or features."""
    found = DENSE[name]
    graph = capture(found.build(), found.size, found.outputs)
    return prepare(graph, torch.randn(2, *found.size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("target", ASKED)
def test_dense_models_pass(name: str, target: str):
    pytest.importorskip("transformers", reason="these are models of transformers")
    if (name, target) == ("VitPoseForPoseEstimation", "rknn"):  # patches of 8 pixels
        with pytest.raises(MptqError, match=r"rule 'strides' .*stride \(8, 8\)"):
            rehearse(dense(name), target, lambda _layer: (8, 8), None, "float32")
        return
    rehearse(dense(name), target, lambda _layer: (8, 8), None, "float32")


def odd_patches() -> Graph:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=44, patch_size=11, embed_dim=32, depth=1, num_heads=2, num_classes=3
    )
    graph = capture(model.eval().requires_grad_(False), (3, 44, 44))
    return prepare(graph, images("vit", 2)[..., :1, :1].repeat(1, 1, 44, 44))


def test_a_stride_that_has_no_form_is_refused_where_the_target_needs_one(tmp_path: Path):
    graph = odd_patches()
    check_layers(Uniform(), Outputs(tmp_path / "x.onnx", target="qnn"), graph)
    with pytest.raises(MptqError, match=r"rule 'strides' .*patch_embed.proj .*stride \(11, 11\)"):
        check_layers(Uniform(), Outputs(tmp_path / "x.onnx", target="rknn"), graph)


def test_widths_that_a_target_does_not_have_are_refused_with_the_nearest():
    with pytest.raises(MptqError, match=r"rule 'weight widths' of --target rknn: 4/8: 4 bits .* nearest .* 8"):
        check_target("rknn", None, [(4, 8)])
    with pytest.raises(MptqError, match="rule 'activation widths' of --target tidl: 8/16"):
        check_target("tidl", None, [(8, 16)])
