"""Run the canonical graph in torch: the float meaning of every canonical op, one value at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.capture.activations import activation
from mptq_export.capture.graph import Graph, Node

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
        values[node.name] = images if node.op == "input" else compute_node(node, [values[n] for n in node.inputs])
        if observe is not None:
            observe(node, values[node.name])
        for name in set(node.inputs):
            if last_use[name] == node.name and name != graph.output:
                del values[name]
    return values[graph.output]


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
    if node.op == "constant":
        return node.params["value"]
    return _COMPUTE[node.op](node, *inputs)


def patches(images: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """Cut NCHW images into rows of patches: [B, gh, gw, ph * pw * C], pixels row by row, channels last."""
    batch, channels, height, width = images.shape
    ph, pw = patch
    cut = images.reshape(batch, channels, height // ph, ph, width // pw, pw).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(batch, height // ph, width // pw, ph * pw * channels)


def weight_matrix(node: Node) -> torch.Tensor:
    """The weight of a layer, [N, K]; that of a patch embedding, [D, ph * pw * C], in the order of `patches`."""
    weight = node.params["weight"]
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1) if node.op == "patch_embed" else weight


def _patch_embed(node: Node, x: torch.Tensor) -> torch.Tensor:
    return F.linear(patches(x, node.attrs["patch"]), weight_matrix(node), node.params["bias"])


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
    top, left, bottom, right = node.attrs["pads"]
    image = F.pad(x, (0, 0, left, right, top, bottom)).permute(0, 3, 1, 2)
    kernels = weight.reshape(-1, 1, *node.attrs["kernel"])
    return F.conv2d(image, kernels, bias, node.attrs["stride"], groups=x.shape[-1]).permute(0, 2, 3, 1)


def _layer_norm(node: Node, x: torch.Tensor) -> torch.Tensor:
    if node.attrs.get("plain"):
        return F.layer_norm(x, (x.shape[-1],), eps=node.attrs["eps"])
    weight, bias = node.params["weight"], node.params["bias"]
    if node.attrs.get("centered"):  # so computes the file: what rounding leaves of the mean stays
        return F.rms_norm(x, (x.shape[-1],), weight, node.attrs["eps"]) + bias
    return F.layer_norm(x, (x.shape[-1],), weight, bias, node.attrs["eps"])


def _reshape(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(node.shape.dynamic())


def _slice(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x.narrow(node.attrs["axis"], node.attrs["start"], node.attrs["end"] - node.attrs["start"])


def _windows(node: Node, x: torch.Tensor) -> torch.Tensor:
    """[B, oh, ow, kh * kw * C]: windows of an NHWC map (zeros or its edge around it), row by row, channels last."""
    (kh, kw), (sh, sw) = node.attrs["kernel"], node.attrs["stride"]
    top, left, bottom, right = node.attrs["pads"]
    if node.attrs.get("edge"):
        rows, columns = (
            torch.arange(-before, size + after, device=x.device).clamp(0, size - 1)
            for before, size, after in ((top, x.shape[1], bottom), (left, x.shape[2], right))
        )
        x = x[:, rows][:, :, columns]
    else:
        x = F.pad(x, (0, 0, left, right, top, bottom))
    cut = x.unfold(1, kh, sh).unfold(2, kw, sw)
    return cut.permute(0, 1, 2, 4, 5, 3).flatten(3)


def _concat(node: Node, *parts: torch.Tensor) -> torch.Tensor:
    batch = max(part.shape[0] for part in parts)
    wide = [part if part.shape[0] == batch else part.expand(batch, *part.shape[1:]) for part in parts]
    return torch.cat(wide, node.attrs["axis"])


def _to_pixels(node: Node, x: torch.Tensor) -> torch.Tensor:
    both = (torch.tensor(node.attrs[key], dtype=torch.float64).to(x) for key in ("gain", "offset"))
    gain, offset = (each.reshape(-1, 1, 1) for each in both)
    return x * gain + offset


def _pad(node: Node, x: torch.Tensor) -> torch.Tensor:
    after_axes = x.dim() - 1 - node.attrs["axis"]
    return F.pad(x, [0, 0] * after_axes + [node.attrs["before"], node.attrs["after"]])


def _rotary(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x * node.params["cos"] + swapped(x, pairs=node.attrs["pairs"]) * node.params["sin"]


def swapped(x: torch.Tensor, *, pairs: bool) -> torch.Tensor:
    """The other coordinate of every rotated plane: channel c of 2 n stands with c + n, or with its neighbour."""
    if pairs:
        return x.reshape(*x.shape[:-1], -1, 2).flip(-1).reshape(x.shape)
    return x.roll(x.shape[-1] // 2, -1)


_COMPUTE: dict[str, Callable[..., torch.Tensor]] = {
    "patch_embed": _patch_embed,
    "linear": lambda node, x: F.linear(x, node.params["weight"], node.params["bias"]),
    "depthwise": lambda node, x: depthwise(node, x, node.params["weight"], node.params["bias"]),
    "layer_norm": _layer_norm,
    "matmul": lambda node, a, b: (a if node.attrs["alpha"] == 1 else a * node.attrs["alpha"]) @ b,
    "softmax": lambda node, x: x.softmax(-1),
    "activation": lambda node, x: activation(x, node.attrs["function"]),
    "add": lambda node, a, b: a + b,
    "mul": lambda node, x: x * node.params["value"],
    "product": lambda node, a, b: a * b,
    "rotary": _rotary,
    "max": lambda node, x: x.amax(node.attrs["axis"], keepdim=True),
    "mean": lambda node, x: x.mean(node.attrs["axes"], node.attrs["keepdim"]),
    "concat": _concat,
    "pad": _pad,
    "to_pixels": _to_pixels,
    "outputs": lambda _node, *maps: torch.cat([value.flatten(1) for value in maps], 1),
    "reshape": _reshape,
    "permute": lambda node, x: x.permute(node.attrs["perm"]),
    "slice": _slice,
    "windows": _windows,
    "roll": lambda node, x: x.roll(node.attrs["shifts"], node.attrs["axes"]),
}
