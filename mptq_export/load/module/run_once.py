"""An unknown module is run on noise, to see what it takes and gives before anything is captured."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mptq_export.capture.user_source import of_traceback
from mptq_export.load.module.named import called, named_leaves
from mptq_export.support.errors import MptqError

#: Two batches: what has the first size at one and the second at the other has the batch there.
_BATCHES = (2, 3)

#: The argument of `transformers` for images; other arguments may stand in front of it.
_PIXELS = "pixel_values"


@dataclass(frozen=True)
class Returned:
    """What a module returned for two and for three images.

    Attributes:
        leaves: by name, for three.
        fewer: by name, for two.
        argument: the name under which it takes images; None for its first argument.
    """

    leaves: Mapping[str, Any]
    fewer: Mapping[str, Any]
    argument: str | None

    def unfit(self, name: str) -> str | None:
        """Why an output cannot be exported; None where it can."""
        leaf, other = self.leaves[name], self.fewer.get(name)
        if not isinstance(leaf, torch.Tensor):
            return f"is a {type(leaf).__name__}, no tensor"
        if not leaf.is_floating_point():
            return f"is {str(leaf.dtype).removeprefix('torch.')}, and only floats can be exported"
        if not isinstance(other, torch.Tensor) or leaf.dim() != other.dim():
            return "has other axes for another number of images"
        if (*other.shape[:1], *leaf.shape[:1]) != _BATCHES:
            sizes = " x ".join(map(str, leaf.shape)) or "one number"
            return f"is {sizes} for {_BATCHES[1]} images: the batch must be its first axis"
        if leaf.shape[1:] != other.shape[1:]:
            return f"has sizes that depend on the images ({list(other.shape)}, then {list(leaf.shape)})"
        return None


def run_once(model: nn.Module, input_size: tuple[int, int, int]) -> Returned:
    """Run a module on noise of two sizes.

    Args:
        model: in evaluation mode, float32, on the CPU.
        input_size: (C, H, W).

    Raises:
        MptqError: it needs more than images, it fails on these, or nothing that it returns has a name of its own.
    """
    argument = _argument(model)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_BATCHES[1], *input_size, generator=generator)
    found = []
    with torch.no_grad():
        for batch in _BATCHES:
            try:
                found.append(named_leaves(called(model.forward, images[:batch], argument)))
            except Exception as error:
                line = of_traceback(error.__traceback__)
                first = (str(error).strip() or "no reason given").splitlines()[0]
                raise MptqError(
                    f"{type(model).__name__} fails on {batch} images of {' x '.join(map(str, input_size))}"
                    f"{f' at {line}' if line else ''}: {type(error).__name__}: {first}; give the size and the channels "
                    "that it was made for"
                ) from error
    fewer, leaves = found
    if not leaves:
        raise MptqError(f"{type(model).__name__} returns nothing for images; its forward must return a tensor")
    return Returned(leaves, fewer, argument)


def _argument(model: nn.Module) -> str | None:
    """The name of the argument that takes images, where it is not the first.

    Raises:
        MptqError: forward takes no images, or needs more than them.
    """
    parameters = inspect.signature(model.forward).parameters
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    name = _PIXELS if _PIXELS in parameters else next((p.name for p in positional), None)
    if name is None and not variable:
        raise MptqError(f"the forward of {type(model).__name__} takes no images: its first argument must be them")
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.name != name and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise MptqError(
            f"the forward of {type(model).__name__} needs more than pixels: {', '.join(needed)} besides {name}; wrap "
            "it in a module whose forward takes images alone and gives the rest itself"
        )
    return _PIXELS if _PIXELS in parameters else None
