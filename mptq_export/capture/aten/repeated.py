"""Constants that torch holds for every image, [B * k, ...]: the tracer knows their k rows of one image.

Where such a constant meets a value of as many rows, the rows get an axis of their own, beside that of the images: there
the constant is the same for all. Window masks that are expanded over the batch are of this kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import name_of
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_of, size_at
from mptq_export.capture.ops import Constant, Mul, Op, Reshape
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


def evaluated(tracer: Tracer, node: fx.Node, batch: int) -> torch.Tensor:
    """The value of a constant for so many images: what depends on weights, and on the sizes of other values.

    Writes into parts of tensors are left out; whoever compares finds the difference.
    """
    known: dict[fx.Node, Any] = {}

    def value(one: fx.Node) -> Any:
        if one not in known:
            known[one] = of(one)
        return known[one]

    def of(one: fx.Node) -> Any:
        told = one.meta.get("val")
        if isinstance(told, torch.SymInt):
            return size_at(told, batch)
        if isinstance(tracer.values.get(one), str):
            return torch.empty(shape_of(one).at(batch), dtype=told.dtype)  # type: ignore[union-attr]
        if one.op != "call_function":
            return tracer.values[one]
        args, kwargs = (fx.node.map_arg(given, value) for given in (one.args, one.kwargs))
        return one.target(*args, **kwargs)  # type: ignore[operator, arg-type]

    with torch.no_grad():
        return value(node)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Rows:
    """Where an axis holds the images and several rows of each.

    Attributes:
        axis: counted from the back, so that it is the same axis in all that is broadcast.
        images_first: whether the rows of an image are neighbours; else the images of a row are.
    """

    axis: int
    images_first: bool

    def apart(self, dims: Sequence[int]) -> tuple[int, ...]:
        """Sizes of one image, in which the axis is two: images, then rows, or the other way round."""
        at = len(dims) + self.axis
        if at < 0:
            return tuple(dims)
        rows = dims[at]
        return (*dims[:at], *((1, rows) if self.images_first else (rows, 1)), *dims[at + 1 :])

    def split(self, shape: Shape) -> Shape:
        """A shape with the axis as two."""
        dims = self.apart(shape.dims)
        return Shape(dims, len(shape.dims) + self.axis + (0 if self.images_first else 1))


class Meeting:
    """The operands of an ATen op, in shapes in which constants that are repeated for every image are not.

    Attributes:
        rows: where an axis is two; None where there is no such constant.
    """

    def __init__(self, tracer: Tracer, node: fx.Node, operands: Iterable[Any]) -> None:
        """What meets in an op.

        Args:
            tracer: gets the nodes.
            node: the ATen op.
            operands: those of its operands that may be such constants: fx nodes; anything else counts for nothing.

        Raises:
            MptqError: a constant is not the same for every image.
        """
        self._tracer, self._node = tracer, node
        self.rows = _rows_of(tracer, operands)

    def operand(self, operand: Any, factor: float = 1) -> str:
        """The name of an operand, an fx node or a number, times a factor."""
        if isinstance(operand, (int, float)):
            return self.constant("scalar" if factor == 1 else "offset", torch.tensor(factor * float(operand)))
        if self._tracer.is_constant(operand):
            if self.rows is None and factor == 1:
                return self._tracer.value(operand)
            return self.constant("offset", factor * self._tracer.constant(operand))
        name, shape = self._tracer.value(operand), shape_of(operand)
        if factor != 1:
            negative = name_of(self._node, "negative" if factor == -1 else "scaled")
            name = self._tracer.add(Mul(), negative, (name,), shape, {"value": torch.tensor(factor)})
        return self.value(name)

    def value(self, name: str) -> str:
        """A value of the graph, with the axis as two."""
        if self.rows is None:
            return name
        shape = self.rows.split(self._tracer.by_name[name].shape)
        return self._tracer.add(Reshape(), name_of(self._node, "apart"), (name,), shape)

    def constant(self, suffix: str, value: torch.Tensor) -> str:
        """A constant of one image, with the axis as two."""
        return constant(self._tracer, name_of(self._node, suffix), self.numbers(value))

    def numbers(self, value: torch.Tensor) -> torch.Tensor:
        """The same as a tensor."""
        return value if self.rows is None else value.reshape(self.rows.apart(value.shape))

    def step(self, op: Op, suffix: str, names: tuple[str, ...], params: dict[str, torch.Tensor] | None = None) -> str:
        """An op of such operands, whose result has the axis as two as well."""
        shape = shape_of(self._node) if self.rows is None else self.rows.split(shape_of(self._node))
        return self._tracer.add(op, name_of(self._node, suffix), names, shape, params)

    def result(self, op: Op, suffix: str, names: tuple[str, ...], params: dict[str, torch.Tensor] | None = None) -> str:
        """The last op: its result as torch has it."""
        if self.rows is None:
            return self.step(op, suffix, names, params)
        apart = self.step(op, f"{suffix}_rows", names, params)
        return self._tracer.add(Reshape(), name_of(self._node, suffix), (apart,), shape_of(self._node))


def elementwise(tracer: Tracer, node: fx.Node, op: Op, suffix: str, operands: Sequence[Any]) -> str:
    """An op of operands that are broadcast; numbers become constants.

    Args:
        tracer: gets the nodes.
        node: the ATen op.
        op: the canonical one.
        suffix: of the name.
        operands: fx nodes or numbers.
    """
    meeting = Meeting(tracer, node, operands)
    return meeting.result(op, suffix, tuple(map(meeting.operand, operands)))


def times(tracer: Tracer, node: fx.Node, source: Any, factor: Any) -> str:
    """A value times a number, the numbers of one image, or an fx node that is a constant."""
    meeting = Meeting(tracer, node, (factor,))
    value = tracer.constant(factor) if isinstance(factor, fx.Node) else torch.as_tensor(factor, dtype=torch.float32)
    return meeting.result(Mul(), "mul", (meeting.operand(source),), {"value": meeting.numbers(value).float()})


def constant(tracer: Tracer, name: str, value: torch.Tensor) -> str:
    """A constant of the graph."""
    return tracer.add(Constant(), name, (), Shape(tuple(value.shape), None), {"value": value.float().contiguous()})


def _rows_of(tracer: Tracer, operands: Iterable[Any]) -> Rows | None:
    """Where the constants among some operands hold several rows for every image."""
    for operand in operands:
        if not isinstance(operand, fx.Node) or not isinstance(tracer.values.get(operand), torch.Tensor):
            continue
        shape, one = shape_of(operand), tracer.values[operand].double()
        axis = shape.batch_axis
        if axis is None or one.shape[axis] == 1:
            continue
        two = evaluated(tracer, operand, 2).double()  # equal but for the rounding of matmuls of other sizes
        if torch.allclose(two, torch.cat([one, one], axis), equal_nan=True):
            return Rows(axis - len(shape.dims), images_first=True)
        if torch.allclose(two, one.repeat_interleave(2, axis), equal_nan=True):
            return Rows(axis - len(shape.dims), images_first=False)
        raise MptqError(
            f"{module_path(operand) or 'the model'}: {operand.target} gives a constant that is not the same for every "
            "image of a batch; such a model cannot be exported"
        )
    return None
