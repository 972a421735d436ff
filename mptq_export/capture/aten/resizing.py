"""ATen ops that resize a map: a linear map along each axis."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.graph import Shape
from mptq_export.capture.trace import Tracer, module_path, shape_of
from mptq_export.errors import MptqError


def bicubic(tracer: Tracer, node: fx.Node) -> str:
    """Bicubic interpolation to a fixed size: rows, then columns, each times a matrix that torch itself gives."""
    aligned = bool(arguments(node)[2])
    out, before = shape_of(node), tracer.shape(arguments(node)[0])
    if len(before.dims) != 4:
        raise MptqError(f"{module_path(node)}: only maps of four axes can be resized")
    value, dims = tracer.value(arguments(node)[0]), before.dims
    for axis in ("width", "height"):
        size = out.dims[3 if axis == "width" else 2]
        dims = (*dims[:3], size)
        params = {"weight": _matrix(before.dims[3 if axis == "width" else 2], size, aligned), "bias": torch.zeros(size)}
        value = tracer.add("linear", name_of(node, f"resized_{axis}"), (value,), Shape(dims, 0), {}, params)
        dims = (*dims[:2], dims[3], dims[2])
        turned = name_of(node, f"turned_{axis}")
        value = tracer.add("permute", turned, (value,), Shape(dims, 0), {"perm": (0, 1, 3, 2)})
    return value


def _matrix(before: int, after: int, aligned: bool) -> torch.Tensor:
    """[after, before] float32: what bicubic interpolation does to one axis, read off unit vectors."""
    units = torch.eye(before).reshape(1, 1, before, before)
    return F.interpolate(units, (before, after), mode="bicubic", align_corners=aligned)[0, 0].T.contiguous()
