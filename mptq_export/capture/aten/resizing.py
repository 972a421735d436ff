"""ATen ops that resize a map: a linear map along each axis."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.graph import Shape
from mptq_export.capture.trace import Tracer, module_path, shape_of
from mptq_export.errors import MptqError


def bicubic(tracer: Tracer, node: fx.Node) -> str:
    """Bicubic interpolation to a fixed size: rows, then columns, each times a matrix that torch itself gives."""
    aligned, out = bool(arguments(node)[2]), shape_of(node)
    value = tracer.value(arguments(node)[0])
    if len(out.dims) != 4:
        raise MptqError(f"{module_path(node)}: only maps of four axes can be resized")
    for axis, size in (("width", out.dims[3]), ("height", out.dims[2])):
        dims = tracer.by_name[value].shape.dims
        params = {"weight": _matrix(dims[3], size, aligned), "bias": torch.zeros(size)}
        name = name_of(node, f"resized_{axis}")
        value = tracer.add("linear", name, (value,), Shape((*dims[:3], size), 0), {}, params)
        value = permuted(tracer, name_of(node, f"turned_{axis}"), value, (0, 1, 3, 2))
    return value


def _matrix(before: int, after: int, aligned: bool) -> torch.Tensor:
    """[after, before] float32: what bicubic interpolation does to one axis, read off unit vectors."""
    units = torch.eye(before).reshape(1, 1, before, before)
    return F.interpolate(units, (before, after), mode="bicubic", align_corners=aligned)[0, 0].T.contiguous()
