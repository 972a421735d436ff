"""ATen ops that resize a map: a linear map along each axis."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Linear
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

Resize = Callable[[torch.Tensor, int], torch.Tensor]
"""Gives the last axis of a map of four axes another size."""


def bicubic(tracer: Tracer, node: fx.Node) -> str:
    """Bicubic interpolation to a fixed size."""
    return _interpolated(tracer, node, "bicubic")


def bilinear(tracer: Tracer, node: fx.Node) -> str:
    """Bilinear interpolation to a fixed size."""
    return _interpolated(tracer, node, "bilinear")


def resized(tracer: Tracer, node: fx.Node, sizes: tuple[int, ...], resize: Resize) -> str:
    """Columns, then rows, each times a matrix that torch itself gives.

    Args:
        tracer: gets the nodes.
        node: the ATen op; its first argument is a channels-first map.
        sizes: height and width of the result.
        resize: what it does to one axis.
    """
    value = tracer.value(arguments(node)[0])
    if len(shape_of(node).dims) != 4:
        raise MptqError(f"{module_path(node)}: only maps of four axes can be resized")
    for axis, size in (("width", sizes[1]), ("height", sizes[0])):
        dims = tracer.by_name[value].shape.dims
        units = torch.eye(dims[3]).reshape(1, 1, dims[3], dims[3])
        params = {"weight": resize(units, size)[0, 0].T.contiguous(), "bias": torch.zeros(size)}
        name = name_of(node, f"resized_{axis}")
        value = tracer.add(Linear(), name, (value,), Shape((*dims[:3], size), 0), params)
        value = permuted(tracer, name_of(node, f"turned_{axis}"), value, (0, 1, 3, 2))
    return value


def _interpolated(tracer: Tracer, node: fx.Node, mode: str) -> str:
    aligned, out = bool(arguments(node)[2]), shape_of(node).dims[-2:]
    return resized(tracer, node, out, partial(_interpolate, mode, aligned))


def _interpolate(mode: str, aligned: bool, units: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(units, (units.shape[2], size), mode=mode, align_corners=aligned)
