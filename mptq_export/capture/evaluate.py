"""Run the canonical graph in torch: the float meaning of every canonical op, one value at a time."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.capture import ops
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Op
from mptq_export.capture.taps import taps

Observer = Callable[[Node, torch.Tensor], None]
Compute = Callable[[Node, list[torch.Tensor]], torch.Tensor]


def evaluate(
    graph: Graph, images: torch.Tensor, observe: Observer | None = None, compute_node: Compute | None = None
) -> torch.Tensor:
    """Compute the output; memory holds only the values that are still to be read.

    Args:
        graph: canonical graph.
        images: input batch in the layout of the graph's input; float32, or float64 to compute in it.
        observe: called with every node and its value, in order.
        compute_node: gives the value of a node; the float meaning (`compute`) in the type of the images by default.

    Returns:
        The output value.
    """
    compute_node = compute_node or computed_in(images.dtype)
    last_use = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, torch.Tensor] = {}
    for node in graph:
        values[node.name] = (
            images if isinstance(node.op, ops.Input) else compute_node(node, [values[n] for n in node.inputs])
        )
        if observe is not None:
            observe(node, values[node.name])
        for name in set(node.inputs):
            if last_use[name] == node.name and name != graph.output:
                del values[name]
    return values[graph.output]


def joined(given: Iterable[torch.Tensor]) -> torch.Tensor:
    """Everything that a model gives, flattened and side by side: [B, values]."""
    return torch.cat([value.reshape(len(value), -1) for value in given], 1)


def computed_in(dtype: torch.dtype) -> Compute:
    """The float meaning of a node whose inputs have a type."""
    return lambda node, inputs: compute(node.cast(dtype), inputs)


def compute(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
    """The value of one node.

    Args:
        node: any canonical node but `input`.
        inputs: values of `node.inputs`, in the type of the node's tensors.

    Returns:
        A tensor of that type and of shape `node.shape.at(batch)`.
    """
    return _COMPUTE[type(node.op)](node, *inputs)


def patches(images: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """Cut NCHW images into rows of patches: [B, gh, gw, ph * pw * C], pixels row by row, channels last."""
    batch, channels, height, width = images.shape
    ph, pw = patch
    cut = images.reshape(batch, channels, height // ph, ph, width // pw, pw).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(batch, height // ph, width // pw, ph * pw * channels)


def weight_matrix(node: Node) -> torch.Tensor:
    """The weight of a layer, [N, K]; that of a patch embedding, [D, ph * pw * C], in the order of `patches`."""
    weight = node.params["weight"]
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1) if isinstance(node.op, ops.PatchEmbed) else weight


def _patch_embed(node: Node, x: torch.Tensor) -> torch.Tensor:
    return F.linear(patches(x, node.attributes(ops.PatchEmbed).patch), weight_matrix(node), node.params["bias"])


def depthwise(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A depthwise convolution with given weights.

    Args:
        node: gives the kernel, the stride and the zeros around the map.
        x: [B, H, W, C] map.
        weight: [M, kh * kw]; output channel m reads channel m // (M / C).
        bias: [M].

    Returns:
        [B, oh, ow, M].
    """
    op = node.attributes(ops.Depthwise)
    top, left, bottom, right = op.pads
    image = F.pad(x, (0, 0, left, right, top, bottom)).permute(0, 3, 1, 2)
    kernels = weight.reshape(-1, 1, *op.kernel)
    result = F.conv2d(image, kernels, bias, op.stride, dilation=op.dilation, groups=x.shape[-1])
    return result.permute(0, 2, 3, 1)


def _layer_norm(node: Node, x: torch.Tensor) -> torch.Tensor:
    norm = node.attributes(ops.LayerNorm)
    if norm.plain:
        return F.layer_norm(x, (x.shape[-1],), eps=norm.eps)
    weight, bias = node.params["weight"], node.params["bias"]
    if norm.centered:  # so computes the file: what rounding leaves of the mean stays
        return F.rms_norm(x, (x.shape[-1],), weight, norm.eps) + bias
    return F.layer_norm(x, (x.shape[-1],), weight, bias, norm.eps)


def _reshape(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(node.shape.dynamic())


def _slice(node: Node, x: torch.Tensor) -> torch.Tensor:
    cut = node.attributes(ops.Slice)
    return x.narrow(cut.axis, cut.start, cut.end - cut.start)


def _windows(node: Node, x: torch.Tensor) -> torch.Tensor:
    """[B, oh, ow, kh * kw * C]: windows of an NHWC map (zeros or its edge around it), row by row, channels last."""
    op = node.attributes(ops.Windows)
    sh, sw = op.stride
    top, left, bottom, right = op.pads
    if op.edge:
        rows, columns = (
            torch.arange(-before, size + after, device=x.device).clamp(0, size - 1)
            for before, size, after in ((top, x.shape[1], bottom), (left, x.shape[2], right))
        )
        x = x[:, rows][:, :, columns]
    else:
        x = F.pad(x, (0, 0, left, right, top, bottom))
    cut = x.unfold(1, op.reach[0], sh).unfold(2, op.reach[1], sw)[..., :: op.dilation[0], :: op.dilation[1]]
    return cut.permute(0, 1, 2, 4, 5, 3).flatten(3)


def _concat(node: Node, *parts: torch.Tensor) -> torch.Tensor:
    batch, axis = node.shape.batch_axis, node.attributes(ops.Concat).axis
    if batch is None or batch == axis:
        return torch.cat(parts, axis)
    images = max(part.shape[batch] for part in parts)
    sizes = [[images if i == batch else size for i, size in enumerate(part.shape)] for part in parts]
    return torch.cat([part.expand(size) for part, size in zip(parts, sizes, strict=True)], axis)


def _to_pixels(node: Node, x: torch.Tensor) -> torch.Tensor:
    op = node.attributes(ops.ToPixels)
    both = (torch.tensor(numbers, dtype=torch.float64).to(x) for numbers in (op.gain, op.offset))
    gain, offset = (each.reshape(-1, 1, 1) for each in both)
    return x * gain + offset


def _pad(node: Node, x: torch.Tensor) -> torch.Tensor:
    pad = node.attributes(ops.Pad)
    after_axes = x.dim() - 1 - pad.axis
    return F.pad(x, [0, 0] * after_axes + [pad.before, pad.after])


def _rotary(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x * node.params["cos"] + swapped(x, pairs=node.attributes(ops.Rotary).pairs) * node.params["sin"]


def swapped(x: torch.Tensor, *, pairs: bool) -> torch.Tensor:
    """The other coordinate of every rotated plane: channel c of 2 n stands with c + n, or with its neighbour."""
    if pairs:
        return x.reshape(*x.shape[:-1], -1, 2).flip(-1).reshape(x.shape)
    return x.roll(x.shape[-1] // 2, -1)


def _matmul(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    alpha = node.attributes(ops.Matmul).alpha
    return (a if alpha == 1 else a * alpha) @ b


def _resample(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Products of what each result reads first, second ..., added up in this order: so computes the file."""
    axis, column = node.attributes(ops.Resample).axis, [1] * x.dim()
    column[axis] = -1
    parts = [x.index_select(axis, index) * factor.reshape(column) for index, factor in taps(node.params["weight"])]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _mean(node: Node, x: torch.Tensor) -> torch.Tensor:
    mean = node.attributes(ops.Mean)
    return x.mean(mean.axes, mean.keepdim)


def _roll(node: Node, x: torch.Tensor) -> torch.Tensor:
    roll = node.attributes(ops.Roll)
    return x.roll(roll.shifts, roll.axes)


_COMPUTE: dict[type[Op], Callable[..., torch.Tensor]] = {
    ops.Constant: lambda node: node.params["value"],
    ops.PatchEmbed: _patch_embed,
    ops.Linear: lambda node, x: F.linear(x, node.params["weight"], node.params["bias"]),
    ops.Depthwise: lambda node, x: depthwise(node, x, node.params["weight"], node.params["bias"]),
    ops.LayerNorm: _layer_norm,
    ops.Matmul: _matmul,
    ops.Softmax: lambda _node, x: x.softmax(-1),
    ops.Activation: lambda node, x: FUNCTIONS[node.attributes(ops.Activation).function].compute(x),
    ops.Add: lambda _node, a, b: a + b,
    ops.Mul: lambda node, x: x * node.params["value"],
    ops.Product: lambda _node, a, b: a * b,
    ops.Rotary: _rotary,
    ops.Relu: lambda _node, x: x.relu(),
    ops.Max: lambda node, x: x.amax(node.attributes(ops.Max).axis, keepdim=True),
    ops.Mean: _mean,
    ops.Resample: _resample,
    ops.Concat: _concat,
    ops.Pad: _pad,
    ops.ToPixels: _to_pixels,
    ops.Outputs: lambda _node, *given: joined(given),
    ops.Reshape: _reshape,
    ops.Permute: lambda node, x: x.permute(node.attributes(ops.Permute).perm),
    ops.Slice: _slice,
    ops.Windows: _windows,
    ops.Roll: _roll,
}
