"""The rewrites in the order of `PASSES`, each asserted on real images, at several batch sizes.

Every pass takes a graph and returns a graph that computes the same function (up to float32 rounding).
"""

from collections.abc import Callable

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
from mptq_export.transform.hoist_slices import hoist_slices
from mptq_export.transform.images_first import images_first
from mptq_export.transform.merge_movement import merge_movement
from mptq_export.transform.own_scores import own_scores
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
    hoist_slices,
    merge_movement,
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
    """Apply all passes and assert after each that the function is unchanged.

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
        function = _Function(graph, images, expected)
        for rewrite in passes:
            graph = function.kept_by(rewrite.__name__, rewrite(graph).pruned(), graph)
        if normalisation is not None:
            graph = function.kept_by("fold_normalisation", fold_normalisation(graph, *normalisation), graph)
    return graph


class _Function:
    """What a graph computes before it is rewritten."""

    def __init__(self, graph: Graph, images: torch.Tensor, expected: torch.Tensor) -> None:
        self._graph, self._images, self._expected = graph, images, expected

    def kept_by(self, name: str, graph: Graph, before: Graph) -> Graph:
        """The rewritten graph, if it computes the same.

        Raises:
            MptqError: it does not.
        """
        if graph.output == before.output and [id(node) for node in graph] == [id(node) for node in before]:
            return before  # the rewrite found nothing to do
        change = largest_change(graph, self._images, self._expected)
        if not change <= TOLERANCE:
            change = self._change_in_float64(graph)  # float32 may round more than that by itself
        if not change <= TOLERANCE:
            raise MptqError(
                f"the rewrite {name} changed the output by {change:.1e} of its maximum; please report this model"
            )
        return graph

    def _change_in_float64(self, graph: Graph) -> float:
        images = self._images.double()
        expected = evaluate_in_parts(self._graph.cast(torch.float64), images)
        return largest_change(graph.cast(torch.float64), images, expected)
