"""Is a graph the same function at every batch? Compared at batches of 1, 2, 3 and 5 images.

One image alone, an even number, an odd one and a prime that divides no common size: a graph in which a batch was frozen
is right at one of them at most.
"""

import math

import torch
from torch.utils import _pytree as pytree

from mptq_export.capture.deferred import evaluate_in_parts
from mptq_export.capture.evaluate import joined
from mptq_export.capture.follow_images import check_images
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import own
from mptq_export.support.errors import MptqError

BATCHES = (1, 2, 3, 5)

#: Largest relative change of the output that float32 rounding may explain.
TOLERANCE = 1e-4


def probe_images(images: torch.Tensor) -> torch.Tensor:
    """As many images as the largest batch has, all different where the given ones are no constants.

    Args:
        images: one or more, NCHW; where there are too few, they come again, moved sideways.
    """
    moved = [images.roll(step, -1) for step in range(-(-max(BATCHES) // len(images)))]
    return torch.cat(moved)[: max(BATCHES)]


def largest_change(graph: Graph, images: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of an output from what it should be, relative to the largest value of its part.

    Args:
        graph: canonical graph.
        images: as many as the largest batch has; with fewer, only batches of so many are tried.
        expected: the output for these images; a batch of the first few must give its first rows.

    Returns:
        The change; infinite where a batch gives no output of the right shape, or one that is not finite.
    """
    changes = [0.0]
    for batch in (batch for batch in BATCHES if batch <= len(images)):
        try:
            found = evaluate_in_parts(graph, images[:batch])
        except (RuntimeError, IndexError) as error:
            if "memory" in str(error):
                raise
            return math.inf  # sizes that do not fit
        if found.shape != expected[:batch].shape:
            return math.inf
        changes += _changes(graph, found, expected[:batch])
    return max(changes)


def check_capture(graph: Graph, model: torch.nn.Module, images: torch.Tensor) -> None:
    """Compare a captured graph with its model at every batch size of `BATCHES`.

    Args:
        graph: as captured; it need not be finite for these images (`prepare` refuses such a model).
        model: what was captured.
        images: as `probe_images` gives them.

    Raises:
        MptqError: the model mixes the images of a batch, or the graph computes something else than the model.
    """
    check_images(graph)
    model = own(model)  # some keep what a call computes
    with torch.no_grad():
        expected = _output(graph, model, images)
        if not bool(expected.isfinite().all()):
            return
        for batch in BATCHES[:-1]:
            alone = _output(graph, model, images[:batch])
            if alone.shape != expected[:batch].shape or _above(graph, alone, expected[:batch]):
                raise MptqError(
                    f"{type(model).__name__} gives other results for {batch} images than for the same images among "
                    f"{len(images)}: it mixes the images of a batch, or asks how many there are; it cannot be exported"
                )
        change = largest_change(graph, images, expected)
    if not change <= TOLERANCE:
        raise MptqError(
            f"{type(model).__name__}: the captured graph differs from the model by {change:.1e} of its output's "
            f"maximum at one of the batch sizes {', '.join(map(str, BATCHES))}; please report this model"
        )


def _output(graph: Graph, model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a model gives, as the graph's output: the logits, or all outputs side by side, one alone too."""
    found = [leaf for leaf in pytree.tree_leaves(model(images)) if isinstance(leaf, torch.Tensor)]
    return joined(found) if graph.joined else found[0]


def _changes(graph: Graph, found: torch.Tensor, expected: torch.Tensor) -> list[float]:
    pairs = zip(graph.parts(found), graph.parts(expected), strict=True)
    errors = [float((part - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6)) for part, wanted in pairs]
    return [error if math.isfinite(error) else math.inf for error in errors]


def _above(graph: Graph, found: torch.Tensor, expected: torch.Tensor) -> bool:
    return max(_changes(graph, found, expected)) > TOLERANCE
