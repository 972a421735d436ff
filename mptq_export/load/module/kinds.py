"""Of which kind an output of an unknown module is, where nobody says it: by its name and its axes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mptq_export.load.module.named import ALONE
from mptq_export.recipe.outputs import AXES, OutputKind

_LOGITS = re.compile(r"(^|[._])logits$")
_EMBEDDING = re.compile(r"embed|pool|feature|latent|cls|proj|representation")
_BOXES = re.compile(r"(pred_)?(boxes|deltas)($|\.)")
_SCORES = re.compile(r"(scores|logits|centerness|objectness)($|\.)")
_VALUES = re.compile(r"box|mask|depth|logit|score|prob|coord|point|heat|flow|normal")


@dataclass(frozen=True)
class SaidKinds:
    """What the user says of the kinds.

    Attributes:
        by_name: kinds by names of outputs.
        only: the kind of the one output of a model that has one.
        classes: whether the user names classes, so that a single output is scores of them.
    """

    by_name: Mapping[str, OutputKind]
    only: OutputKind | None = None
    classes: bool = False


def kinds_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, OutputKind]:
    """The kinds of outputs that nobody speaks of.

    Those of a detector are known by standing side by side: boxes and scores of as many candidates, on the same level
    (what follows the first dot of their names).

    Args:
        shapes: by the module's own name, `output` for a single tensor without one; with the batch first.
    """
    found = {name: _kind_of(name, shape) for name, shape in shapes.items()}
    dense = [(name, shape, (name.partition(".")[2], shape[1])) for name, shape in shapes.items() if len(shape) == 3]
    boxes = {name: level for name, shape, level in dense if _BOXES.match(name) and shape[2] == 4}
    scores = {name: level for name, _, level in dense if _SCORES.match(name)}
    for name, level in boxes.items():
        if level in scores.values():
            found[name] = "boxes"
    for name, level in scores.items():
        if level in boxes.values():
            found[name] = "choices" if name.startswith("logits") else "scores"
    return found


def _kind_of(name: str, shape: tuple[int, ...]) -> OutputKind:
    """The kind of an output by itself.

    Rows of numbers are logits only where they are called so: else a search would compare directions as probabilities.

    Args:
        name: the module's own, `output` for a single tensor without one.
        shape: with the batch first.
    """
    if len(shape) == AXES["logits"]:
        if _LOGITS.search(name):
            return "logits"
        return "embedding" if name == ALONE or _EMBEDDING.search(name) else "values"
    if _VALUES.search(name):
        return "values"
    if len(shape) == AXES["map"] and shape[1] > 1:
        return "map"
    return "tokens" if len(shape) == AXES["tokens"] else "values"
