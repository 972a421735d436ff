"""Detectors of transformers that give a set of boxes, each with a class or none (DETR, YOLOS): their description.

Their image processors take the softmax of `logits`, of which the last is "no object", and the best class of each box.
Classes of which the processor does otherwise (a sigmoid of each class: Conditional DETR, RT-DETR) are not described.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mptq_export.recipe.detector import Detector, Selection
from mptq_export.recipe.outputs import OutputKind

#: Classes of transformers.
SETS = ("DetrForObjectDetection", "TableTransformerForObjectDetection", "YolosForObjectDetection")

#: What boxes are made of.
OUTPUTS: dict[str, OutputKind] = {"logits": "choices", "pred_boxes": "boxes"}

_HOME = "transformers.models."


def is_set(module: nn.Module) -> bool:
    """Whether a module is such a detector, or of a class made from one."""
    return any(kind.__name__ in SETS and kind.__module__.startswith(_HOME) for kind in type(module).__mro__)


def set_detector(
    shapes: Mapping[str, tuple[int, ...]], image: tuple[int, int], names: tuple[str, ...] | None
) -> Detector | None:
    """The description of such a detector; None where it does not give what boxes are made of.

    Args:
        shapes: of the outputs, by name, with the batch first.
        image: (height, width) of the input, in pixels.
        names: of the classes, if they are known; without "no object".
    """
    if not OUTPUTS.keys() <= shapes.keys():
        return None
    _, queries, choices = shapes["logits"]
    # Whoever asks for boxes says from which score on: the library has a threshold in no configuration.
    selection = Selection(score=0.0, candidates=queries, overlap=1.0, kept=queries)
    fitting = names if names is not None and len(names) == choices - 1 else None
    return Detector("set", "network", image, choices - 1, fitting, selection)


def names_in(config: Any) -> tuple[str, ...] | None:
    """Names of the classes in a configuration of transformers, unless they are the library's placeholders."""
    numbered = getattr(config, "id2label", None)
    if not isinstance(numbered, dict) or sorted(numbered) != list(range(len(numbered))):
        return None
    names = tuple(str(numbered[number]) for number in range(len(numbered)))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(names)) else names
