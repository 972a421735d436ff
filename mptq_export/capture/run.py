"""The first stage of an export: `torch.export` of a model, and its translation into the canonical graph."""

import copy
import io
import logging
import warnings
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout, suppress
from typing import Any

import torch

from mptq_export.capture.aten.table import HANDLERS
from mptq_export.capture.graph import Graph
from mptq_export.capture.stops import frozen_batch, is_frozen, listening, unfollowed
from mptq_export.capture.torch_modules import traceable
from mptq_export.capture.tracer import Tracer
from mptq_export.recipe.outputs import LOGITS, Output


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
    return capture_noted(model, input_size, outputs, nullcontext())


def capture_noted(
    model: torch.nn.Module,
    input_size: tuple[int, int, int],
    outputs: tuple[Output, ...],
    noting: AbstractContextManager[Any],
) -> Graph:
    """`capture`, and `noting` is entered while the constants of the graph are computed; see `origins`.

    Raises:
        MptqError: as `capture`.
    """
    traced = own(model)
    try:
        program = _exported(traced, input_size)
    except Exception as error:
        if not is_frozen(error):
            raise unfollowed(traced, error) from error
        with listening() as heard, suppress(Exception):
            _exported(traced, input_size)
        raise frozen_batch(model, heard.line) from error
    with noting:
        return Tracer(program, HANDLERS).run(outputs)


def _exported(model: torch.nn.Module, input_size: tuple[int, int, int]) -> torch.export.ExportedProgram:
    """The program of a model for any number of images; what it, or torch, prints on the way is not shown."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    nowhere = io.StringIO()
    with warnings.catch_warnings(), torch.no_grad(), traceable(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        logging.getLogger("torch").setLevel(logging.ERROR)
        example = torch.zeros(2, *input_size)
        return torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=False)


def own(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the same weights and modules of its own: some keep what tracing computes (LeViT, ConViT)."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared)
    copied.eval()  # the copy of a graph of torch.fx trains, whatever the original does
    return copied
