"""Tensors without memory are not filled: on the meta device, random initial weights cost time and give nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_FILLS = frozenset(
    f"{name}_"
    for name in (
        "add",
        "clamp",
        "copy",
        "div",
        "erfinv",
        "fill",
        "mul",
        "normal",
        "sub",
        "trunc_normal",
        "uniform",
        "zero",
    )
)
"""What changes the values of a tensor and neither its shape nor its kind."""


class Unfilled(TorchFunctionMode):
    """Leaves a tensor of the meta device as it is where it should be filled in place."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, or not."""
        first = args[0] if args else None
        if getattr(func, "__name__", "") in _FILLS and isinstance(first, Tensor) and first.is_meta:
            return first
        return func(*args, **(kwargs or {}))
