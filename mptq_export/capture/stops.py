"""Why `torch.export` could not follow a model, in a sentence for people: what, in which module, at which line."""

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

from mptq_export.capture.user_source import SourceLine, of_frames, of_traceback
from mptq_export.support.errors import MptqError

#: Where torch tells which sizes it takes as fixed.
_SHAPES = logging.getLogger("torch.fx.experimental.symbolic_shapes")

#: A size that grows with the batch was taken as that of the example.
_FROZEN = re.compile(r"Eq\(\w+, 2\)")

_DATA = ("data-dependent", "DataDependent", ".numpy()", ".item()", "aten._local_scalar_dense")


class FrozenSizes(logging.Handler):
    """Hears of the first place at which the number of images was taken as fixed.

    Attributes:
        line: of the model's source; None where there is none, or nothing was heard.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.line: SourceLine | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Note where a guard fixes the size of a batch."""
        if self.line is None and "[guard added]" in str(record.msg) and _FROZEN.search(record.getMessage()):
            self.line = of_frames(traceback.extract_stack())


@contextmanager
def listening() -> Iterator[FrozenSizes]:
    """Hear of fixed sizes while a model is exported once more."""
    heard, level, handed_on = FrozenSizes(), _SHAPES.level, _SHAPES.propagate
    silenced = logging.root.manager.disable  # the command lines silence all
    logging.disable(logging.NOTSET)
    _SHAPES.addHandler(heard)
    _SHAPES.setLevel(logging.INFO)
    _SHAPES.propagate = False
    try:
        yield heard
    finally:
        _SHAPES.removeHandler(heard)
        _SHAPES.setLevel(level)
        _SHAPES.propagate = handed_on
        logging.disable(silenced)


def is_frozen(error: Exception) -> bool:
    """Whether a model could not be exported because it takes one number of images only."""
    return "Constraints violated" in str(error)


def frozen_batch(model: torch.nn.Module, line: SourceLine | None) -> MptqError:
    """A model that fixes the number of images, at a line of its source if that is known."""
    at = f" at {line}" if line else ""
    return MptqError(
        f"{type(model).__name__} takes only as many images as it was tried with: the number of images is made a "
        f"constant{at}; the model's forward must take any number of images, and not mix those of a batch: keep sizes "
        "as x.shape[0] (len(x), int(x.shape[0]) and loops over the images fix them)"
    )


def unfollowed(model: torch.nn.Module, error: Exception) -> MptqError:
    """A model that `torch.export` cannot follow.

    Args:
        model: the one that was traced; its modules are those of the frames of the traceback.
        error: what was raised.
    """
    text = str(error).strip()
    reason = text.splitlines()[0].partition(" (unhinted")[0] if text else type(error).__name__
    line, module = of_traceback(error.__traceback__), _module_of(model, error.__traceback__)
    where = "".join([f" in {module}" if module else "", f" at {line}" if line else ""])
    advice = "the model's forward must be free of data-dependent Python control flow"
    if any(word in text or word in type(error).__name__ for word in _DATA):
        advice = "what it does may not depend on the numbers in a tensor: no .item(), .numpy(), and no if on a tensor"
    return MptqError(f"{type(model).__name__} cannot be captured by torch.export{where}: {reason}; {advice}")


def _module_of(model: torch.nn.Module, trace: TracebackType | None) -> str:
    """Path of the innermost module of a model whose code raised an exception; empty for the model itself."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    for frame, _ in traceback.walk_tb(trace):
        found = names.get(id(frame.f_locals.get("self")), found)
    return found
