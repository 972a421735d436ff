"""What torch's own modules ask of values, which a trace does not know."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import transformer


@contextmanager
def traceable() -> Iterator[None]:
    """Torch's transformer modules as one plain graph.

    `nn.TransformerEncoder` compares a mask with the causal one, and whole layers may run as one fused op: both choose
    another kernel for the same result. Without an answer the mask itself is added.
    """
    name = "_detect_is_causal_mask"
    asked, fast = getattr(transformer, name, None), torch.backends.mha.get_fastpath_enabled()
    if asked is not None:
        setattr(transformer, name, _is_causal)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        if asked is not None:
            setattr(transformer, name, asked)


def _is_causal(mask: torch.Tensor | None, is_causal: bool | None = None, size: Any = None) -> bool:
    """Whether the caller said so; a mask that is there is added in any case."""
    return is_causal is True
