"""ATen ops that resize a map: a linear map along each axis."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.graph import NCHW, NHWC, Node, Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Add, Constant, Input, Linear, Movement, Mul, Resample
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

#: A result that reads more elements than this is computed by a linear layer.
_MOST_TAPS = 16


def interpolate(tracer: Tracer, node: fx.Node) -> str:
    """Interpolation to a fixed size, of any kind: torch's own op gives the matrix of each axis."""
    source = arguments(node)[0]
    if len(shape_of(node).dims) != 4:
        raise MptqError(f"{module_path(node)}: only maps of four axes can be resized")
    height, width = shape_of(source).dims[-2:]
    return _resized(tracer, node, _interpolation(node, 0, height), _interpolation(node, 1, width))


def average_uneven(tracer: Tracer, node: fx.Node) -> str:
    """Adaptive average pooling to a size that does not divide the map: means of uneven windows along each axis."""
    pairs = zip(shape_of(arguments(node)[0]).dims[-2:], shape_of(node).dims[-2:], strict=True)
    rows, columns = (F.adaptive_avg_pool2d(_units(size), (1, count))[:, 0, 0].T for size, count in pairs)
    return _resized(tracer, node, rows, columns)


def _units(size: int) -> torch.Tensor:
    """Maps of one row, each with one element that is not zero: float64 [size, 1, 1, size]."""
    return torch.eye(size, dtype=torch.float64)[:, None, None]


def _interpolation(node: fx.Node, axis: int, size: int) -> torch.Tensor:
    """The matrix of one axis: float64 [result, size]; `axis` is 0 for the height, 1 for the width."""
    names = (argument.name for argument in node.target._schema.arguments)  # type: ignore[union-attr]
    named: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    sizes, scales = named["output_size"], named.get("scale_factors")
    named |= {
        "input": _units(size),
        "output_size": None if sizes is None else [1, int(sizes[axis])],
        "scale_factors": None if scales is None else [1.0, scales[axis]],
    }
    resized: torch.Tensor = node.target(**named)  # type: ignore[operator]
    return resized[:, 0, 0].T


def _resized(tracer: Tracer, node: fx.Node, rows: torch.Tensor, columns: torch.Tensor) -> str:
    """A map times a matrix along its height, and one along its width.

    Args:
        tracer: gets the nodes.
        node: the ATen op; its first argument is a channels-first map.
        rows: float64 [new height, height].
        columns: float64 [new width, width].
    """
    value = tracer.value(arguments(node)[0])
    if _is_image(tracer, tracer.by_name[value]) or max(_taps(rows), _taps(columns)) > _MOST_TAPS:
        return _by_layers(tracer, node, value, rows, columns)
    value = permuted(tracer, name_of(node, "nhwc"), value, NHWC)
    for axis, name, weight in ((1, "height", rows), (2, "width", columns)):
        dims = tracer.by_name[value].shape.dims
        shape = Shape((*dims[:axis], len(weight), *dims[axis + 1 :]), 0)
        params = {"weight": weight.float().contiguous()}
        value = tracer.add(Resample(axis), name_of(node, f"resized_{name}"), (value,), shape, params)
    return permuted(tracer, name_of(node, "nchw"), value, NCHW)


def _taps(weight: torch.Tensor) -> int:
    return int((weight != 0).sum(1).max())


def _is_image(tracer: Tracer, node: Node) -> bool:
    """Whether a value is the model's input, moved, normalised or not: it has no bound as floats, and few channels."""
    while isinstance(node.op, Movement | Add | Mul):
        live = [name for name in node.inputs if not isinstance(tracer.by_name[name].op, Constant)]
        if len(live) != 1:
            return False
        node = tracer.by_name[live[0]]
    return isinstance(node.op, Input)


def _by_layers(tracer: Tracer, node: fx.Node, value: str, rows: torch.Tensor, columns: torch.Tensor) -> str:
    """Columns, then rows, each by a linear layer without bias."""
    for axis, weight in (("width", columns), ("height", rows)):
        dims, size = tracer.by_name[value].shape.dims, len(weight)
        params = {"weight": weight.float().contiguous(), "bias": torch.zeros(size)}
        name = name_of(node, f"resized_{axis}")
        value = tracer.add(Linear(), name, (value,), Shape((*dims[:3], size), 0), params)
        value = permuted(tracer, name_of(node, f"turned_{axis}"), value, (0, 1, 3, 2))
    return value
