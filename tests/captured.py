"""Graphs of the models that tests export, captured once: torch.export is a third of the time of a tiny export."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from mptq_export.capture import run
from mptq_export.capture.graph import Graph
from mptq_export.load.timm.infer import function_of

Captures = dict[tuple[Any, ...], Graph]


@contextmanager
def remembered() -> Iterator[Captures]:
    """Exports take what was captured before: the same modules, settings and tensors, size and maps."""
    made: Captures = {}
    original = run.capture

    def capture(model: torch.nn.Module, input_size: tuple[int, int, int], maps: tuple[str, ...] = ()) -> Graph:
        key = (function_of(model), _digest(model), input_size, maps)
        if key not in made:
            made[key] = original(model, input_size, maps)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "capture", capture)
        yield made


def _digest(model: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for values in (model.named_parameters(), model.named_buffers()):
        for name, value in values:
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()
