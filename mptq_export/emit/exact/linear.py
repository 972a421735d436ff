"""Linear layers as one QGemm each, with codes for all readers or as floats (rules 1 and 2 of docs/design.md).

Over windows of a map, with codes for all readers, they are convolutions.
"""

import numpy as np
from numpy.typing import NDArray

from mptq_export.calibrate.sites import Site, readers_of_codes
from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Relu, Softmax
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.conversion import encode, encode_floats
from mptq_export.emit.exact.convolution import emit_convolution_of, windows_of_convolution
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.emit.exact.weighted import emit_gemm, emit_gemm_floats
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.transform.channels import channel_numbers


def emit_codes(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of a linear layer for all of its readers, or of its floats where one tensor cannot serve them all."""
    readers = _code_readers(context, node)
    if not _can_share_codes(context, readers):
        return encode_floats(context, node, quant, key)
    return context.once(("codes", node.name), lambda: _emit_shared_codes(context, node, readers))  # q, k, v


def emit_floats(context: Context, node: Node, exponent: int) -> Floats:
    """QGemm with float32 output in units of 2 ** -exponent."""
    return emit_gemm_floats(context, node, exponent, _read_rows)


def _emit_shared_codes(context: Context, node: Node, readers: list[Site]) -> Codes:
    """QGemm with uint8 output; the scales of all readers (q, k, v) are absorbed by per-channel weight scales.

    Readers of several widths have several zero points: those are added through the bias, and each reader clips its own
    channels after the movement.
    """
    width = node.params["weight"].shape[0]
    scale, zero_point = np.ones(width, np.float64), np.zeros(width, np.float64)
    quants = [context.recipe.activations[site.key] for site in readers]
    for site, quant in zip(readers, quants, strict=True):
        channels = _channels(context, site)
        scale[channels], zero_point[channels] = quant.scale, quant.zero_point
    name = f"{node.name}.codes"
    if len({_levels(quant) for quant in quants}) == 1:
        windows = None if quants[0].regions else windows_of_convolution(context, node)
        if windows is not None:
            return emit_convolution_of(context, node, windows, 1.0 / scale, quants[0])
        tensor, _ = emit_gemm(context, node, _read_rows(context, node), 1.0 / scale)
        return encode(context.onnx, tensor, quants[0], name, step=1.0, flat=True)
    tensor, _ = emit_gemm(context, node, _read_rows(context, node), 1.0 / scale, zero_point)
    return Codes(tensor=context.onnx.quantize(tensor, 1.0, 0, name), scale=1.0, zero_point=0, flat=True)


def _code_readers(context: Context, node: Node) -> list[Site]:
    """The sites that read the output through movement; empty where any other reader exists."""
    found: list[Site] = []
    for reader, name in readers_of_codes(context.graph, node.name) or ():
        keys = [k for k, s in context.sites.items() if s.node.name == reader.name and s.value == name]
        if not keys or isinstance(reader.op, Softmax):
            return []
        found += [context.sites[key] for key in keys]
    return found


def _can_share_codes(context: Context, readers: list[Site]) -> bool:
    """Whether one uint8 tensor can serve all readers: there are some, and no channel has to have two codes."""
    quants = [context.recipe.activations[site.key] for site in readers]
    if any(quant.regions for quant in quants) and len({_levels(quant) for quant in quants}) > 1:
        return False
    chosen: dict[int, tuple[float, int]] = {}
    return bool(readers) and all(
        chosen.setdefault(channel, (quant.scale, quant.zero_point)) == (quant.scale, quant.zero_point)
        for site, quant in zip(readers, quants, strict=True)
        for channel in _channels(context, site).tolist()
    )


def _levels(quant: ActivationQuant) -> tuple[object, ...]:
    """What is left of a quantizer when its scale is folded into the weights."""
    return quant.zero_point, quant.low, quant.high, quant.regions


def _channels(context: Context, site: Site) -> NDArray[np.int64]:
    """Output channels of `node` that a site reads; all that a ReLU between them reads."""
    value = site.value
    while isinstance((root := context.graph.root(value)).op, Relu):
        value = root.inputs[0]
    return np.unique(channel_numbers(context.graph, value).numpy())


def _read_rows(context: Context, node: Node) -> Codes:
    return context.flatten(context.read_codes(node, "input"), node.inputs[0])
