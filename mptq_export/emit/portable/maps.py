"""Maps with channels first, as convolutions read and write them; layers of the graph have channels last."""

from mptq_export.capture.graph import NCHW, NHWC, Node
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor
from mptq_export.transform.channels import is_permutation


def channels_first(context: PortableContext, node: Node, value: str) -> Tensor:
    """A map [B, H, W, C] that a layer reads, as [B, C, H, W] in the codes that the layer reads.

    Args:
        context: the emission.
        node: the layer, of one input.
        value: the map, or what it is before windows are cut out of it.
    """
    map_first = _as_it_was(context, value)
    if map_first is None:
        last = context.unflatten(context.read_value(value), value)
        map_first = context.moved(last, lambda t: context.onnx.one("Transpose", [t], f"{value}.first", perm=list(NCHW)))
    return context.converted(node, 0, map_first)


def is_channels_first_already(context: PortableContext, value: str) -> bool:
    """Whether a map [B, H, W, C] has been [B, C, H, W], so that a convolution of it costs no movement."""
    return len(context.graph[value].shape.dims) == 4 and _as_it_was(context, value) is not None


def channels_last(context: PortableContext, node: Node, tensor: str) -> Tensor:
    """What a convolution gives, in its codes, as [B, H, W, C]; who wants channels first gets it as it is."""
    value = Tensor(tensor=tensor, flat=False, quant=None)
    site = f"{node.name}.output"
    if context.where.has_result(node):
        value = context.coded(value, context.recipe.activations[site], site)
    context.maps[node.name] = value
    return context.moved(value, lambda t: context.onnx.one("Transpose", [t], f"{node.name}.last", perm=list(NHWC)))


def _as_it_was(context: PortableContext, value: str) -> Tensor | None:
    """A map with its channels first where some value on its way was just that."""
    root, chain = context.graph.path(value)
    if not chain:
        context.read_value(value)
        return context.maps.get(root.name)
    for at, before in enumerate([root, *chain[:-1]]):
        if is_permutation(chain[at:], before, NHWC):
            return context.unflatten(context.read_value(before.name), before.name)
    return None
