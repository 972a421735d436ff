"""What a file says of its outputs, a choice among them, and what timm's models give."""

import pytest
import timm
import torch
from own_modules import SIZE, Four, made
from tiny_models import KINDS
from torch import nn

from mptq_export.capture.compare_batches import check_capture
from mptq_export.capture.run import capture
from mptq_export.load.features import FEATURES_KEY, FeatureMap, features_text
from mptq_export.load.forward import picking
from mptq_export.load.outputs import LOGITS, OUTPUTS_KEY, Output, chosen, outputs_of, outputs_text
from mptq_export.load.run import load
from mptq_export.load.timm.given import given_by
from mptq_export.support.errors import MptqError

BOTH = (Output("logits", "logits"), Output("pred_boxes", "values"))


def test_the_metadata_says_names_and_kinds():
    assert outputs_of({}) == LOGITS
    assert outputs_of({OUTPUTS_KEY: outputs_text(BOTH)}) == BOTH
    maps = {FEATURES_KEY: features_text((FeatureMap(1, "blocks.1", 8, 4),))}
    assert outputs_of(maps) == (Output("features.1", "map"),)


@pytest.mark.parametrize(
    "text", ["[", "3", "[3]", "[{}]", '[{"output": "a"}]', '[{"output": "a", "kind": "class"}]', "[" * 100_000]
)
def test_damaged_metadata(text: str):
    with pytest.raises(MptqError, match=r"mptq\.outputs is damaged"):
        outputs_of({OUTPUTS_KEY: text})


def test_a_choice_of_outputs():
    assert chosen(BOTH, ["pred_boxes", "logits"]) == [1, 0]
    for names, words in (
        (["masks"], "masks: the model has no such output; it has logits, pred_boxes"),
        ([], "no output"),
    ):
        with pytest.raises(MptqError, match=words):
            chosen(BOTH, names)
    with pytest.raises(MptqError, match="twice"):
        chosen(BOTH, ["logits", "logits"])


def test_a_model_that_gives_less_is_captured_under_the_same_names():
    model = load(made(Four), input_size=SIZE, mean=0.5, std=0.5)
    fewer = model.with_outputs(("pred_boxes", "pooler_output"))
    assert [each.kind for each in fewer.outputs] == ["values", "embedding"]
    assert len(model.outputs) == 4
    graph = capture(fewer.model, SIZE, fewer.outputs)
    assert "block.fc1" in graph.nodes
    assert "head" not in graph.nodes
    assert list(graph.outputs) == ["pred_boxes", "pooler_output"]
    check_capture(graph, fewer.model, torch.randn(5, *SIZE))
    x = torch.randn(2, *SIZE)
    assert torch.equal(picking(model.model, [2])(x), model.model(x)[2])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Output("logits", "logits")),
        ({"num_classes": 0}, Output("embedding", "embedding")),
        ({"num_classes": 0, "global_pool": ""}, Output("tokens", "tokens")),
        ({"global_pool": ""}, Output("logits", "tokens")),
    ],
)
def test_what_timm_gives(changes: dict[str, object], kind: Output):
    name, kwargs = KINDS["vit"]
    model: nn.Module = timm.create_model(name, **{**kwargs, **changes}).eval()
    assert given_by(model, SIZE) == (kind,)
