"""`--reconstruct` as a stage of an export: its journal, its warnings, its graph."""

from dataclasses import dataclass

import numpy as np
import torch

from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Searched, Uniform
from mptq_export.quantize.reconstruct.end_check import MOST
from mptq_export.quantize.reconstruct.journal import Journal, identity_of
from mptq_export.quantize.reconstruct.learning import FEW, Learning
from mptq_export.quantize.reconstruct.refold import refolded
from mptq_export.quantize.reconstruct.run import cost, reconstruct
from mptq_export.recipe.schema import Recipe
from mptq_export.support.progress import Progress


@dataclass(frozen=True)
class Learned:
    """A recipe that may have been learned.

    Attributes:
        graph: with the recipe's transforms, float32, on the CPU.
        recipe: the recipe.
        warnings: of the learning, a sentence each.
    """

    graph: Graph
    recipe: Recipe
    warnings: tuple[str, ...] = ()


def learned_if_asked(
    plan: Uniform | Searched,
    outputs: Outputs,
    calibrated: Calibrated,
    built: tuple[Graph, Graph, Recipe],
    progress: Progress,
) -> Learned:
    """The recipe, learned where that is asked for.

    Args:
        plan: says whether it is, and whether an interrupted run goes on.
        outputs: the journal lies beside them.
        calibrated: with all images.
        built: the prepared graph, the same with all transforms, and the recipe.
        progress: hears how far it is.

    Raises:
        MptqError: the journal is of another reconstruction, damaged, or cannot be written; a GPU is too small.
    """
    prepared, graph, recipe = built
    graph = graph.cast(torch.float32)
    if not plan.reconstruct:
        return Learned(graph.to("cpu"), recipe)
    told: list[str] = []
    learning = Learning()
    identity = identity_of(graph, recipe, calibrated.images, learning)
    journal = Journal.open(outputs.learned, identity, resume=plan.resume)
    with progress.stage("learning", cost(graph, learning)) as bar:
        recipe = reconstruct(
            graph,
            recipe,
            calibrated.images,
            held_back=held_back_images(calibrated),
            learning=learning,
            journal=journal,
            bar=bar,
            warn=told.append,
        )
    graph = refolded(graph, prepared, recipe).cast(torch.float32)
    return Learned(graph.to("cpu"), recipe, tuple(told))


def held_back_images(calibrated: Calibrated) -> torch.Tensor | None:
    """Inputs that calibration did not take, on the device of those that it took; None where there are too few."""
    found = calibrated.source.comparison(MOST)
    if found.calibrated or found.count < FEW:
        return None
    return torch.from_numpy(np.concatenate(list(found.batches(MOST)))).to(calibrated.images.device)
