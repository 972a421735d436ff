"""The patch embedding reads pixels."""

import torch
from tiny_models import MEAN, STD, images, pixels, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Input, LayerNorm, Mul, Slice
from mptq_export.transform.fold_normalisation import fold_normalisation
from mptq_export.transform.hoist_slices import hoist_slices

from .graphs import chain, values


def test_the_patch_embedding_reads_pixels():
    graph = prepared("vit")
    seen = values(graph, images("vit", 3, seed=4))
    assert graph["patch_embed.proj"].inputs == ("pixels",)
    raw = pixels("vit", 3, seed=4).permute(0, 3, 1, 2).float()
    assert (seen["pixels"] - raw).abs().max() < 1e-3


def test_normalisation_stays_where_something_else_reads_the_input():
    graph = chain((LayerNorm(1e-6), (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8)}))
    assert fold_normalisation(graph, MEAN, STD) is graph


def test_a_slice_stays_behind_a_factor_of_its_own_axis():
    table = torch.arange(1.0, 5).reshape(4, 1)
    nodes = [
        Node(Input(), "input", (), Shape((1, 4, 8))),
        Node(Mul(), "scaled", ("input",), Shape((1, 4, 8)), {"value": table}),
        Node(Slice(1, 1, 2), "row", ("scaled",), Shape((1, 1, 8))),
    ]
    graph, x = Graph(nodes, "row"), torch.randn(2, 4, 8)
    assert torch.equal(evaluate(hoist_slices(graph), x), evaluate(graph, x))
