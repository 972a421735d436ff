"""Which devices share the work of a search."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from mptq_export.support.processes.group import Alone, Group


def sharing(asked: str | None, own: torch.device) -> AbstractContextManager[Group]:
    """The processes that share work, this one first: one for every GPU, where none was named.

    Args:
        asked: the device as the user named it; None for none.
        own: the device of this process.
    """
    others = other_gpus(own) if asked in (None, "cuda") else []
    if not others:
        return nullcontext(Alone())
    from mptq_export.support.processes.started import Processes  # noqa: PLC0415 - torch may be built without it

    return Processes(others)


def other_gpus(own: torch.device) -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` is for every other GPU of the kind of one's own; none where there is no way to them.

    On another kind floats would be added in another order, and the same search might find something else there.

    Args:
        own: the device of this process.
    """
    if own.type != "cuda" or sys.platform != "linux" or not torch.distributed.is_available():
        return []
    if torch.distributed.is_initialized():  # by the caller, for work of its own
        return []
    count, first = torch.cuda.device_count(), own.index or 0
    visible = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    names = visible[:count] if len(visible) >= count else [str(i) for i in range(count)]
    kind = torch.cuda.get_device_name(first)
    return [names[i] for i in range(count) if i != first and torch.cuda.get_device_name(i) == kind]
