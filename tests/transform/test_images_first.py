"""Layers of token-major code become those of image-major code."""

import pytest
import torch
from batch_models import SIZE, RowsOfTokens, Tower
from tiny_models import FAMILIES, KINDS, captured, images
from torch import nn

from mptq_export.capture.blocks import split_blocks
from mptq_export.capture.compare_batches import largest_change
from mptq_export.capture.follow_images import ImageDigit, image_digits, images_lead
from mptq_export.capture.ops import Activation, LayerNorm, Weighted
from mptq_export.capture.run import capture
from mptq_export.transform.images_first import images_first
from mptq_export.transform.prepare import prepare


class Tables(nn.Module):
    """Constants that differ by token, on values and on rows of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32), nn.Linear(32, 7)
        self.table, self.gain = nn.Parameter(torch.randn(16, 1, 32)), nn.Parameter(torch.rand(32) + 0.5)
        self.inner = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).permute(2, 0, 1)  # [L, B, D]
        x = self.norm(x + self.table) * self.gain
        rows = nn.functional.gelu(self.inner(x.flatten(0, 1))) * x.flatten(0, 1)
        x = rows.reshape(16, -1, 32) * self.table + x
        return self.head(x.permute(1, 0, 2).mean(1))


MODELS = {
    "tower": lambda: Tower(batch_first=False, tokens_first=True),
    "torch's own attention": lambda: Tower(batch_first=True, tokens_first=False),
    "rows of tokens": RowsOfTokens,
    "tables": Tables,
}


@pytest.mark.parametrize("kind", MODELS)
def test_all_that_is_computed_is_one_image_after_the_other(kind: str):
    torch.manual_seed(0)
    model = MODELS[kind]().eval().requires_grad_(False)
    graph, x = capture(model, SIZE), images("vit", 5)
    layers = {node.name for node in graph if isinstance(node.op, Weighted | LayerNorm | Activation)}
    assert not layers <= images_lead(graph)
    moved = images_first(graph)
    assert layers <= images_lead(moved)
    assert largest_change(moved, x, model(x)) < 1e-5
    assert images_first(moved) is moved or {n.name for n in images_first(moved)} == {n.name for n in moved}
    assert layers <= images_lead(prepare(graph, x))


def test_the_order_of_the_axes_leaves_no_trace():
    torch.manual_seed(0)
    models = [Tower(batch_first=first, tokens_first=not first).eval().requires_grad_(False) for first in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    prepared = [prepare(capture(model, SIZE), images("vit", 5)) for model in models]
    shapes = [[(node.op, node.shape) for node in graph] for graph in prepared]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kind", [*KINDS, *FAMILIES])
def test_models_of_timm_are_left_alone(kind: str):
    assert images_first(captured(kind)) is captured(kind)


def test_where_the_images_of_rows_are():
    graph = capture(RowsOfTokens().eval(), SIZE)
    digits = image_digits(graph)
    assert digits["input"] == ImageDigit(0, 1, 1)
    assert digits["qkv"] == ImageDigit(1, 1, 1)
    assert digits["proj"] == ImageDigit(0, 16, 1)
    assert not digits["proj"].leads


def test_blocks_end_where_values_can_be_cut_into_images():
    torch.manual_seed(0)
    graph = capture(Tower(batch_first=False, tokens_first=True).eval(), SIZE)
    assert {block.result for block in split_blocks(graph)} <= images_lead(graph)
    assert len(split_blocks(prepare(graph, images("vit", 5)))) > len(split_blocks(graph))
