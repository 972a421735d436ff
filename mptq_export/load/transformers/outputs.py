"""What a model of transformers gives for pictures, under the library's names, and which of it people want."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mptq_export.load.detection.sets import OUTPUTS
from mptq_export.load.loaded import LoadedModel, inference_ready
from mptq_export.load.outputs import Output, OutputKind, chosen
from mptq_export.recipe.detector import Detector
from mptq_export.recipe.outputs import AXES
from mptq_export.support.errors import MptqError

_BATCH = 3
_FIRST: tuple[tuple[str, ...], ...] = (
    ("logits", "pred_boxes"),
    ("predicted_depth",),
    ("image_embeds",),
    ("image_embeddings",),
    ("pooler_output",),
)
"""What people want, the first that a model has: with a head its scores (and boxes), else one vector a picture."""
_EMBEDDINGS = ("pooler_output", "image_embeds")
_LAST = "last_hidden_state"
_BOXES = "pred_boxes"
_MAPS = "feature_maps."
"""Of a backbone: all of them are wanted."""


@dataclass(frozen=True)
class Given:
    """The outputs that a class has.

    Attributes:
        all: each with its kind, in the library's order.
        usual: which of them are exported where nobody asks for others.
        own_names: the library's name of each of them, by the name in the file.
        classes: how many scores `logits` has a picture; None where it has none, or not one a class.
        shapes: of all, by the library's names, with the batch first.
    """

    all: tuple[Output, ...]
    usual: tuple[Output, ...]
    own_names: dict[str, str]
    classes: int | None
    shapes: Mapping[str, tuple[int, ...]]


class Pixels(nn.Module):
    """A model of transformers as a function of pixels alone.

    Attributes:
        model: of the library.
        names: of the outputs that it gives, in order.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs for [B, C, H, W]: one tensor, or a tuple of them."""
        given = _tensors(self.model(pixel_values=x, return_dict=True))
        outputs = tuple(given[name] for name in self.names)
        return outputs if len(outputs) > 1 else outputs[0]


@dataclass(frozen=True)
class OutputChoice:
    """A model of transformers that can give any of its outputs.

    Attributes:
        model: of the library.
        given: what it has.
        class_names: of its logits, where they are known.
        detector: what of it is float by nature, where it gives a set of boxes.
    """

    model: nn.Module
    given: Given
    class_names: tuple[str, ...] | None
    detector: Detector | None = None

    def __call__(self, loaded: LoadedModel, names: tuple[str, ...]) -> LoadedModel:
        """The same, giving the outputs of some names.

        Raises:
            MptqError: there is no such output, or a name stands twice.
        """
        places = chosen(self.given.all, names)
        told = tuple(note for note in loaded.notes if note != self._note)
        return self._giving(replace(loaded, notes=told), tuple(self.given.all[place] for place in places))

    def usual(self, loaded: LoadedModel) -> LoadedModel:
        """The same, giving what is exported where nobody asks for others."""
        told = (*loaded.notes, self._note) if len(self.given.all) > len(self.given.usual) else loaded.notes
        return self._giving(replace(loaded, notes=told), self.given.usual)

    def _giving(self, loaded: LoadedModel, outputs: tuple[Output, ...]) -> LoadedModel:
        given = Pixels(self.model, tuple(self.given.own_names[each.name] for each in outputs))
        kept = self.class_names if any(each.kind == "logits" for each in outputs) else None
        boxes = self.detector if OUTPUTS.keys() <= {each.name for each in outputs} else None
        model = inference_ready(given)
        return replace(loaded, model=model, outputs=outputs, class_names=kept, detector=boxes)

    @property
    def _note(self) -> str:
        usual, every = (", ".join(each.name for each in each_of) for each_of in (self.given.usual, self.given.all))
        return f"gives {usual}; --outputs chooses among {every}"


def outputs_of(
    model: nn.Module, input_size: tuple[int, int, int], *, one_label: bool, renamed: Mapping[str, str]
) -> Given:
    """Run the model without numbers, and see what comes out.

    Args:
        model: on torch's meta device, or any.
        input_size: (C, H, W) of the input.
        one_label: whether a picture has one class of `logits`; where it may have several, or a number, they are values.
        renamed: names in the file of outputs that are not called there as the class calls them.

    Raises:
        MptqError: it refuses such an input, or gives no tensor with the batch first.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        given = model(pixel_values=torch.zeros(_BATCH, *input_size, device=device), return_dict=True)
    shapes = {
        name: tuple(value.shape)
        for name, value in _tensors(given).items()
        if value.is_floating_point() and value.shape[:1] == (_BATCH,) and name != "mask"
    }
    if not shapes:
        raise MptqError(f"{type(model).__name__} gives no tensor with the batch first; it is no model of pictures")
    kinds = {name: _kind(name, shape, one_label) for name, shape in shapes.items()}
    if _BOXES in shapes:
        kinds |= _of_candidates(shapes, getattr(model, "config", None))
    wanted = next((names for names in _FIRST if names[0] in shapes), (_LAST,))
    if not any(name in shapes for name in wanted):
        wanted = tuple(name for name in shapes if name.startswith(_MAPS))
    usual = tuple(name for name in wanted if name in shapes) or tuple(shapes)[:1]
    logits = shapes.get("logits", ())
    return Given(
        tuple(Output(renamed.get(name, name), kind) for name, kind in kinds.items()),
        tuple(Output(renamed.get(name, name), kinds[name]) for name in usual),
        {renamed.get(name, name): name for name in kinds},
        logits[1] if kinds.get("logits") == "logits" else None,
        shapes,
    )


def _tensors(given: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a model gives, by name; maps of a backbone, which stand in a tuple, with their numbers."""
    parts = {
        f"{name}.{number}": part
        for name, value in given.items()
        if isinstance(value, tuple | list)
        for number, part in enumerate(value)
    }
    return {name: value for name, value in {**given, **parts}.items() if isinstance(value, Tensor)}


def _of_candidates(shapes: Mapping[str, tuple[int, ...]], config: Any) -> dict[str, OutputKind]:
    """Kinds of the boxes, and of scores for as many candidates: with one more than classes, that is "no object"."""
    kinds: dict[str, OutputKind] = {_BOXES: "boxes"}
    scores = shapes.get("logits", ())
    if len(scores) == AXES["choices"] and scores[:2] == shapes[_BOXES][:2]:
        kinds["logits"] = "scores" if scores[2] == getattr(config, "num_labels", None) else "choices"
    return kinds


def _kind(name: str, shape: tuple[int, ...], one_label: bool) -> OutputKind:
    if len(shape) == 4:
        return "map"
    if name == _LAST and len(shape) == 3:
        return "tokens"
    if name in _EMBEDDINGS and len(shape) == 2:
        return "embedding"
    return "logits" if name.endswith("logits") and len(shape) == 2 and one_label and shape[1] > 1 else "values"
