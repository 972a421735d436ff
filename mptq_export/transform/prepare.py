"""The rewrites in the order of `PASSES`, asserted on real images, at several batch sizes.

Every pass takes a graph and returns a graph that computes the same function (up to float32 rounding). What is compared
is the graph behind all of them, with the one before them: of a large model that is most of the time that this takes.
Where it differs, they are made again and compared one by one, for the name of the one that does it.
"""

from collections.abc import Callable, Iterator

import torch

from mptq_export.capture.compare_batches import TOLERANCE, largest_change
from mptq_export.capture.deferred import evaluate_in_parts
from mptq_export.capture.graph import Graph
from mptq_export.support.errors import MptqError
from mptq_export.transform.center_residual import center_residual
from mptq_export.transform.center_scores import center_scores
from mptq_export.transform.fold_gains import fold_gains
from mptq_export.transform.fold_multipliers import fold_multipliers
from mptq_export.transform.fold_normalisation import fold_normalisation
from mptq_export.transform.fold_offsets import fold_offsets
from mptq_export.transform.fold_prefix import fold_prefix
from mptq_export.transform.fold_rotary import fold_rotary
from mptq_export.transform.hoist_elementwise import hoist_elementwise
from mptq_export.transform.hoist_slices import hoist_slices
from mptq_export.transform.images_first import images_first
from mptq_export.transform.merge_movement import merge_movement
from mptq_export.transform.own_scores import own_scores
from mptq_export.transform.share_movement import share_movement
from mptq_export.transform.sink_permutes import sink_permutes

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    images_first,
    own_scores,
    fold_rotary,
    fold_gains,
    fold_multipliers,
    fold_offsets,
    fold_prefix,
    hoist_elementwise,
    hoist_slices,
    merge_movement,
    share_movement,
    sink_permutes,
    center_residual,
)


def prepare(
    graph: Graph,
    images: torch.Tensor,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    *,
    passes: tuple[Pass, ...] = PASSES,
) -> Graph:
    """Apply all passes and assert that the function is unchanged.

    Args:
        graph: as captured.
        images: float32, as `capture.compare_batches.probe_images` gives them.
        normalisation: (mean, std) of the inputs where they are normalised 8-bit pixels; None for other inputs.
        passes: the rewrites, in order.

    Returns:
        The graph that is calibrated and emitted.

    Raises:
        MptqError: the captured model's output is not finite, or a pass changed the function (a defect of this package;
            nothing is exported).
    """
    with torch.no_grad():
        graph = center_scores(graph)  # first: beside large constants float32 scores say little of what it keeps
        broken: list[str] = []
        expected = evaluate_in_parts(
            graph, images, lambda node, x: None if x.isfinite().all() else broken.append(node.name)
        )
        if not torch.isfinite(expected).all():
            raise MptqError(
                f"{broken[0]}: the float model's output on the first calibration images is not finite from here on; "
                "check the checkpoint for extreme weights, and the images"
            )
        if normalisation is not None:
            passes = (*passes, _folding(normalisation))
        function, result = _Function(graph, images, expected), graph
        for _name, rewritten in _rewritten(graph, passes):
            result = rewritten
        if result is not graph and not function.change(result) <= TOLERANCE:
            for name, rewritten in _rewritten(graph, passes):
                function.check(name, rewritten)
    return result


def rewritten(graph: Graph, normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None) -> Graph:
    """What `prepare` gives of a graph that it has checked before, without looking at images again."""
    graph = center_scores(graph)
    passes = PASSES if normalisation is None else (*PASSES, _folding(normalisation))
    return next((found for _name, found in reversed(list(_rewritten(graph, passes)))), graph)


def _folding(normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> Pass:
    mean, std = normalisation

    def fold(graph: Graph) -> Graph:
        return fold_normalisation(graph, mean, std)

    fold.__name__ = fold_normalisation.__name__
    return fold


def _rewritten(graph: Graph, passes: tuple[Pass, ...]) -> Iterator[tuple[str, Graph]]:
    """The graph behind every pass that found something to do, with the name of the pass."""
    for rewrite in passes:
        found = rewrite(graph).pruned()
        if found.output != graph.output or [id(node) for node in found] != [id(node) for node in graph]:
            graph = found
            yield rewrite.__name__, graph


class _Function:
    """What a graph computes before it is rewritten."""

    def __init__(self, graph: Graph, images: torch.Tensor, expected: torch.Tensor) -> None:
        self._graph, self._images, self._expected = graph, images, expected

    def change(self, graph: Graph) -> float:
        """How much the output of a rewritten graph differs, relative to its maximum."""
        change = largest_change(graph, self._images, self._expected)
        if change <= TOLERANCE:
            return change
        images = self._images.double()  # float32 may round more than that by itself; weights follow, a layer at a time
        return largest_change(graph, images, evaluate_in_parts(self._graph, images))

    def check(self, name: str, graph: Graph) -> None:
        """Refuse a rewritten graph that computes something else.

        Raises:
            MptqError: it does.
        """
        change = self.change(graph)
        if not change <= TOLERANCE:
            raise MptqError(
                f"the rewrite {name} changed the output by {change:.1e} of its maximum; please report this model"
            )
