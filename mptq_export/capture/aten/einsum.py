"""`einsum` of two values as a matmul between permutations and reshapes.

Letters of both operands and of the result count independent products. Those of the left operand alone are rows, those
of the right one alone are columns, and those that the result does not have are summed over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Linear, Matmul, Reshape
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class _Letters:
    """An equation of two operands, the right one a constant where one of them is.

    Attributes:
        left: letters of the left operand.
        right: of the right one.
        out: of the result.
    """

    left: str
    right: str
    out: str

    @property
    def shared(self) -> list[str]:
        return [letter for letter in self.left if letter in self.right and letter in self.out]

    @property
    def summed(self) -> list[str]:
        return [letter for letter in self.left if letter in self.right and letter not in self.out]

    @property
    def rows(self) -> list[str]:
        return [letter for letter in self.left if letter not in self.right]

    @property
    def columns(self) -> list[str]:
        return [letter for letter in self.right if letter not in self.left]

    @property
    def is_a_product(self) -> bool:
        """Whether it is one: no letter comes twice, none is summed over in one operand alone, and one is at all."""
        once = all(len(set(part)) == len(part) for part in (self.left, self.right, self.out))
        named = sorted(self.out) == sorted(self.shared + self.rows + self.columns)
        return once and named and bool(self.summed) and (self.left + self.right + self.out).isalpha()


def einsum(tracer: Tracer, node: fx.Node) -> str:
    """A product that sums over some letters of both operands."""
    equation, operands = str(arguments(node)[0]).replace(" ", ""), list(arguments(node)[1])
    inputs, _, out = equation.partition("->")
    parts = inputs.split(",")
    if len(parts) == 2 and tracer.is_constant(operands[0]):
        parts, operands = parts[::-1], operands[::-1]
    letters = _Letters(parts[0], parts[1], out) if len(parts) == 2 else None
    if letters is None or not letters.is_a_product:
        raise MptqError(f"{module_path(node)}: the product {equation} is not supported")
    if tracer.is_constant(operands[1]) and not letters.shared:
        return _linear(tracer, node, operands, letters)
    return _matmul(tracer, node, operands, letters)


def _linear(tracer: Tracer, node: fx.Node, operands: Sequence[fx.Node], letters: _Letters) -> str:
    """With a constant that has no letter of the result but columns of its own: a linear layer."""
    rows, summed, columns = letters.rows, letters.summed, letters.columns
    value = _Moved(tracer, node, operands[0], letters.left).to([*([row] for row in rows), summed])
    weight = tracer.constant(operands[1])
    weight = weight.permute([letters.right.index(letter) for letter in [*columns, *summed]])
    sizes = [weight.shape[i] for i in range(len(columns))]
    weight = weight.reshape(math.prod(sizes), -1).contiguous()
    shape = tracer.by_name[value].shape
    made = Shape((*shape.dims[:-1], len(weight)), shape.batch_axis)
    params = {"weight": weight, "bias": torch.zeros(len(weight))}
    value = tracer.add(Linear(), name_of(node, "einsum"), (value,), made, params)
    return _back(tracer, node, value, [*rows, *columns], Shape((*shape.dims[:-1], *sizes), shape.batch_axis))


def _matmul(tracer: Tracer, node: fx.Node, operands: Sequence[fx.Node], letters: _Letters) -> str:
    """A matmul; along the rows but the last a constant is broadcast, those of two values are one axis."""
    shared, summed, rows, columns = letters.shared, letters.summed, letters.rows, letters.columns
    apart = rows[:-1] if tracer.is_constant(operands[1]) else []
    front = [[letter] for letter in (*apart, *shared)]
    left = _Moved(tracer, node, operands[0], letters.left).to([*front, rows[len(apart) :], summed])
    right = _Moved(tracer, node, operands[1], letters.right).to([*([one] for one in shared), summed, columns])
    shape, other = tracer.by_name[left].shape, tracer.by_name[right].shape
    made = Shape((*shape.dims[:-1], other.dims[-1]), shape.batch_axis)
    value = tracer.add(Matmul(), name_of(node, "einsum"), (left, right), made)
    sizes = dict(
        zip(letters.left + letters.right, (*shape_of(operands[0]).dims, *shape_of(operands[1]).dims), strict=True)
    )
    order = [*apart, *shared, *rows[len(apart) :], *columns]
    batch = None if shape.batch_axis is None else order.index(letters.left[shape_of(operands[0]).batch_axis or 0])
    return _back(tracer, node, value, order, Shape(tuple(sizes[letter] for letter in order), batch))


def _back(tracer: Tracer, node: fx.Node, value: str, order: list[str], shape: Shape) -> str:
    """The result in the order of its letters, from one in another order, whose axes may be merged."""
    if tracer.by_name[value].shape != shape:
        value = tracer.add(Reshape(), name_of(node, "apart"), (value,), shape)
    out = str(arguments(node)[0]).replace(" ", "").partition("->")[2]
    return permuted(tracer, name_of(node, "ordered"), value, tuple(map(order.index, out)))


@dataclass(frozen=True)
class _Moved:
    """An operand of an equation."""

    tracer: Tracer
    node: fx.Node
    operand: fx.Node
    letters: str

    def to(self, groups: Sequence[Sequence[str]]) -> str:
        """Its axes in another order, those of a group as one; a group without letters has size one."""
        tracer, name = self.tracer, name_of(self.node, "ordered")
        order = [letter for group in groups for letter in group]
        value = permuted(tracer, name, tracer.value(self.operand), tuple(map(self.letters.index, order)))
        shape = tracer.by_name[value].shape
        batch = None if shape.batch_axis is None else order[shape.batch_axis]
        sizes = dict(zip(order, shape.dims, strict=True))
        dims = tuple(math.prod(sizes[letter] for letter in group) for group in groups)
        holding = None if batch is None else next(i for i, group in enumerate(groups) if batch in group)
        merged = Shape(dims, holding)
        return value if merged == shape else tracer.add(Reshape(), name_of(self.node, "merged"), (value,), merged)
