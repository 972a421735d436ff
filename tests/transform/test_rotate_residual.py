"""A rotated residual is the same function, and takes a smaller range where channels stand out."""

from dataclasses import replace

import pytest
import torch
from tiny_models import images, prepared

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import LayerNorm, Linear, PatchEmbed
from mptq_export.quantize.portable.rotation import find_rotation, rotated
from mptq_export.targets.table import portable_form
from mptq_export.transform.flat_basis import flat_basis
from mptq_export.transform.portable import portable_graph
from mptq_export.transform.rotate_residual import rotate_residual, streams

QNN = portable_form("qnn")
assert QNN is not None


def portable(kind: str) -> Graph:
    return portable_graph(prepared(kind), "float32", QNN)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("vit", 1),
        ("gap", 1),  # the last norm is read by a mean
        ("swin", 1),  # the norm behind the patches writes the first stream
        ("dinov2", 1),
        ("swinv2", 0),  # norms write the stream: their gains cannot go anywhere
    ],
)
def test_the_function_is_kept(kind: str, found: int):
    graph, seen = portable(kind), images(kind, 2)
    assert len(streams(graph)) == found
    expected = evaluate(graph.cast(torch.float64), seen.double())
    for stream in streams(graph):
        graph = rotate_residual(graph, stream, find_rotation(graph, stream, seen))
    torch.testing.assert_close(evaluate(graph, seen.double()), expected, rtol=1e-9, atol=1e-9)


def test_a_norm_over_four_tokens_side_by_side_is_turned_back_for_each():
    graph, seen = portable("swin"), images("swin", 2)
    norm = graph["patch_embed.norm"]
    layer = {"weight": torch.diag(norm.params["weight"]), "bias": norm.params["bias"]}
    graph = graph.updated({norm.name: replace(norm, op=Linear(), params=layer)})
    expected = evaluate(graph.cast(torch.float64), seen.double())
    merging, last = streams(graph)
    assert graph["layers.1.downsample.norm"].shape.dims[-1] == 4 * merging.width == 2 * last.width
    graph = rotate_residual(graph, merging, find_rotation(graph, merging, seen))
    torch.testing.assert_close(evaluate(graph, seen.double()), expected, rtol=1e-9, atol=1e-9)


def test_norms_of_a_rotated_stream_have_neither_gain_nor_offset():
    graph, seen = portable("vit"), images("vit", 2)
    for stream in streams(graph):
        graph = rotate_residual(graph, stream, find_rotation(graph, stream, seen))
    norms = [node for node in graph if isinstance(node.op, LayerNorm)]
    assert all(bool((node.params["weight"] == 1).all() & (node.params["bias"] == 0).all()) for node in norms)


def test_a_channel_that_stands_out_is_spread_over_all():
    graph, seen = portable("vit"), images("vit", 4)
    patches = next(node for node in graph if isinstance(node.op, PatchEmbed))
    loud = {key: value.clone() for key, value in patches.params.items()}
    loud["weight"][5] *= 30
    graph = graph.updated({patches.name: replace(patches, params=loud)})
    (stream,) = streams(graph)
    turned = rotate_residual(graph, stream, find_rotation(graph, stream, seen))

    def largest(some: Graph) -> float:
        found: list[float] = []
        evaluate(
            some.cast(torch.float32),
            images("vit", 4, seed=1),
            lambda node, value: found.append(float(value.abs().max())) if node.name == patches.name else None,
        )
        return found[0]

    assert largest(turned) < 0.4 * largest(graph)


@pytest.mark.parametrize("size", [1, 2, 5, 12, 20, 24, 28, 36, 96, 144, 192, 384])
def test_a_flat_basis_is_orthogonal_and_begins_with_the_mean(size: int):
    basis = flat_basis(size)
    torch.testing.assert_close(basis @ basis.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(basis[:, 0], torch.full((size,), size**-0.5, dtype=torch.float64))
    flat = size not in (5, 28, 36)  # no Hadamard matrix of ours: beside cosines
    assert float(basis.abs().max()) * size**0.5 <= (1 if flat else 2**0.5) + 1e-12


def test_a_stream_that_is_not_there_and_a_matrix_of_another_size_are_refused():
    graph = portable("vit")
    with pytest.raises(KeyError):
        rotated(graph, {"no.norm": torch.eye(32, dtype=torch.float64)})
    (stream,) = streams(graph)
    with pytest.raises(ValueError, match="shape"):
        rotated(graph, {stream.norms[0]: torch.eye(16, dtype=torch.float64)})
    with pytest.raises(ValueError, match="orthogonal"):
        rotated(graph, {stream.norms[0]: 1.01 * torch.eye(32, dtype=torch.float64)})
