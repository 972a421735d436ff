"""Which rotation of a residual stream spreads it evenly, and whether that pays.

The directions in which tokens reach farthest are the principal ones of the stream. They are turned onto the columns of
a matrix of alike elements (`transform/flat_basis.py`), so that none of them lies along few channels. That takes
a smaller range than a random rotation (QuaRot, arXiv 2404.00456), and no training (SpinQuant, arXiv 2405.16406).
"""

from collections.abc import Callable

import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.transform.flat_basis import cosine_basis, flat_basis
from mptq_export.transform.preserved import assert_same
from mptq_export.transform.rotate_residual import Stream, rotate_residual, streams

#: Calibration images whose tokens are looked at, and of which together.
_IMAGES, _BATCH = 32, 8

#: Images that ranges are chosen from, and as many others that they are measured on, to see whether a rotation pays.
_TRIED = 16

#: How far a rotation may be from an orthogonal matrix.
_ORTHOGONAL = 1e-9

Logits = Callable[[CalibratedGraph, torch.Tensor], torch.Tensor]
"""Outputs of a graph that is quantized in haste from its images, for other images."""


def rotations(calibrated: CalibratedGraph, quantized: Logits) -> dict[str, torch.Tensor]:
    """The rotations that pay, by the first norm of their streams: all together, or none.

    Args:
        calibrated: what will be quantized.
        quantized: gives outputs of a quantized model.

    Raises:
        MptqError: a rotation changed the function (a defect of this package).
    """
    graph, images = calibrated.graph, calibrated.images
    found = {stream.norms[0]: find_rotation(graph, stream, images) for stream in streams(graph)}
    if not found:
        return {}
    turned = rotated(graph, found)
    probe = images[:2].double()
    with torch.no_grad():
        assert_same("the rotation of the residual", evaluate(turned, probe), evaluate(graph, probe))
        held_out = images[_TRIED : 2 * _TRIED] if len(images) > _TRIED else images
        exact = evaluate(graph.cast(torch.float32), held_out)
        some = calibrated.of_images(range(min(_TRIED, len(images))))
        lost = [
            float(divergence(graph, exact, quantized(some.of_graph(each), held_out), calibrated.metric).mean())
            for each in (graph, turned)
        ]
    return found if lost[1] < lost[0] else {}


def rotated(graph: Graph, turns: dict[str, torch.Tensor]) -> Graph:
    """Rotate streams.

    Args:
        graph: any canonical graph.
        turns: rotation of a stream by the name of its first norm.

    Raises:
        KeyError: the graph has no such stream.
        ValueError: a matrix is of another size than its stream, or not orthogonal.
    """
    found = {stream.norms[0]: stream for stream in streams(graph)}
    for name, turn in turns.items():
        if turn.shape != (found[name].width,) * 2:
            raise ValueError(f"the rotation of {name} has shape {list(turn.shape)}, its stream {found[name].width}")
        if not torch.allclose(turn @ turn.T, torch.eye(len(turn)).to(turn), rtol=0, atol=_ORTHOGONAL):
            raise ValueError(f"the rotation of {name} is no orthogonal matrix")
        graph = rotate_residual(graph, found[name], turn)
    return graph


def find_rotation(graph: Graph, stream: Stream, images: torch.Tensor) -> torch.Tensor:
    """The rotation of a stream: float64 [width, width], orthogonal with row sums of 1.

    Args:
        graph: before the rotation.
        stream: one of its streams.
        images: float32 calibration inputs.
    """
    columns = cosine_basis(stream.width).to(images.device)  # the first is the direction of the mean
    read = {graph.root(graph[name].inputs[0]).name for name in stream.norms}
    moment = columns.new_zeros(stream.width - 1, stream.width - 1)

    def observe(node: Node, value: torch.Tensor) -> None:
        if node.name in read:
            rows = value.reshape(-1, stream.width).double() @ columns[:, 1:]
            moment.addmm_(rows.T, rows, alpha=1 / len(rows))

    with torch.no_grad():
        for some in torch.split(images[:_IMAGES], _BATCH):
            evaluate(graph.cast(torch.float32), some, observe)
    vectors = torch.linalg.eigh(moment).eigenvectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    principal = columns[:, 1:] @ (vectors * largest.sign())  # either sign is an eigenvector: not a library's choice
    return (flat_basis(stream.width).to(columns) @ torch.cat([columns[:, :1], principal], 1).T).cpu()
