"""The first stage of an export: `torch.export` of a model, and its translation into the canonical graph."""

import copy
import logging
import warnings

import torch

from mptq_export.capture.aten.table import HANDLERS
from mptq_export.capture.graph import Graph
from mptq_export.capture.tracer import Tracer
from mptq_export.recipe.outputs import LOGITS, Output
from mptq_export.support.errors import MptqError


def capture(model: torch.nn.Module, input_size: tuple[int, int, int], outputs: tuple[Output, ...] = LOGITS) -> Graph:
    """Capture a model in eval mode as a canonical graph.

    Args:
        model: float32 model; maps [B, C, H, W] float32 to one tensor, or to several.
        input_size: (C, H, W) in pixels.
        outputs: what it gives, in order.

    Returns:
        The graph before any transform; its values equal the model's.

    Raises:
        MptqError: `torch.export` cannot trace the model, or an op has no canonical form.
    """
    example = torch.zeros(2, *input_size)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch").setLevel(logging.ERROR)
        try:
            program = torch.export.export(own(model), (example,), dynamic_shapes=({0: batch},), strict=False)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            advice = "the model's forward must be free of data-dependent Python control flow"
            if "Constraints violated" in first:
                advice = "the model's forward must take any number of images, and not mix those of a batch"
            raise MptqError(f"{type(model).__name__} cannot be captured by torch.export: {first}; {advice}") from error
    return Tracer(program, HANDLERS).run(outputs)


def own(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the same weights and modules of its own: some keep what tracing computes (LeViT, ConViT)."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
