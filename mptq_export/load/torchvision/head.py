"""The last layer of a torchvision model: its own, another linear layer in its place, or none."""

from dataclasses import dataclass

from torch import nn

from mptq_export.load.torchvision.families import Family, Shapes
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Head:
    """A classifier.

    Attributes:
        place: path of the module.
        width: channels that it reads; 0 where there is no classifier.
        classes: logits that it gives; 0 where there is none.
        bias: whether it has one.
    """

    place: str
    width: int
    classes: int
    bias: bool

    def layer(self) -> nn.Module:
        """The module."""
        return nn.Linear(self.width, self.classes, bias=self.bias) if self.classes else nn.Identity()


def head_of(family: Family, shapes: Shapes, path: str) -> Head:
    """The classifier that tensors show.

    Args:
        family: of the model.
        shapes: of its tensors.
        path: of the checkpoint, for the message.

    Raises:
        MptqError: there is something else in its place, which tensors do not show altogether.
    """
    whole, last = family.head
    own = ".".join(filter(None, (whole, last)))
    for place in (own, *([whole] if whole and last == "head" else [])):
        weight = shapes.get(f"{place}.weight", ())
        if len(weight) == 2:
            return Head(place, weight[1], weight[0], f"{place}.bias" in shapes)
    begins = f"{own if family.name == 'MaxVit' else whole or last}."
    strange = next((name for name in sorted(shapes) if name.startswith(begins)), None)
    if strange is not None:
        raise MptqError(
            f"{path}: {strange} belongs to a classifier of your own, of which tensors do not show what lies between "
            "them; load the module in Python: mptq_export.load(model, ...)"
        )
    return Head(own if family.name == "MaxVit" else whole or last, 0, 0, bias=False)
