"""The table from ATen ops to canonical ops."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import fx

from mptq_export.capture.activations import SIGMOID_SLOPES
from mptq_export.capture.graph import Shape
from mptq_export.capture.trace import Handler, Tracer, module_path, shape_from, shape_of
from mptq_export.errors import MptqError

aten = torch.ops.aten

#: Stands for the smallest length that a vector is divided by: far below any step, and above zero.
_TINY = 1e-24


@dataclass(frozen=True)
class Length:
    """The Euclidean length of the rows of a value, not a value of the graph."""

    of: fx.Node


@dataclass(frozen=True)
class Stack:
    """Values stacked along a new axis, not a value of the graph."""

    parts: tuple[fx.Node, ...]
    axis: int


def _args(node: fx.Node) -> list[Any]:
    """Positional arguments, padded with None for those left out."""
    return [*node.args, *[None] * 8]


def _name(node: fx.Node, op: str) -> str:
    path = module_path(node)
    return f"{path}.{op}" if path else op


def _axis(axis: int, rank: int) -> int:
    return axis % rank


def _identity(tracer: Tracer, node: fx.Node) -> Any:
    return tracer.values[_args(node)[0]]


def _patch_embed(tracer: Tracer, node: fx.Node) -> str:
    """Convolution whose windows tile the image: a linear layer over patches."""
    args = _args(node)
    weight = tracer.constant(args[1])
    kernel = list(weight.shape[2:])
    stride = list(args[3] or [1, 1])
    if stride != kernel or any(args[4] or [0]) or (args[6] or 1) != 1:
        raise MptqError(
            f"{module_path(node)}: a convolution of kernel {kernel} and stride {stride} is not a patch embedding; "
            "overlapping, padded or grouped convolutions are not supported"
        )
    out = shape_of(node).dims
    height, width = tracer.shape(args[0]).dims[2:]
    if out[2] * kernel[0] != height or out[3] * kernel[1] != width:
        raise MptqError(f"{module_path(node)}: the {height}x{width} is no multiple of the patch {kernel}")
    bias = tracer.constant(args[2]) if args[2] is not None else torch.zeros(weight.shape[0])
    nhwc = tracer.add(
        "patch_embed",
        module_path(node),
        (tracer.value(args[0]),),
        Shape((1, out[2], out[3], out[1])),
        {"patch": tuple(kernel)},
        {"weight": weight, "bias": bias},
    )
    return tracer.add("permute", _name(node, "nchw"), (nhwc,), shape_of(node), {"perm": (0, 3, 1, 2)})


def _linear(tracer: Tracer, node: fx.Node) -> str:
    weight = tracer.constant(_args(node)[1])
    bias = _args(node)[2] if len(node.args) > 2 else None
    params = {"weight": weight, "bias": torch.zeros(weight.shape[0]) if bias is None else tracer.constant(bias)}
    return tracer.add("linear", module_path(node), (tracer.value(_args(node)[0]),), shape_of(node), {}, params)


def _layer_norm(tracer: Tracer, node: fx.Node) -> str:
    args = _args(node)
    width = int(args[1][-1])
    if len(args[1]) != 1:
        raise MptqError(f"{module_path(node)}: layer norm over {args[1]} must be over the last axis only")
    params = {
        "weight": torch.ones(width) if args[2] is None else tracer.constant(args[2]),
        "bias": torch.zeros(width) if args[3] is None else tracer.constant(args[3]),
    }
    eps = 1e-5 if args[4] is None else float(args[4])
    return tracer.add("layer_norm", module_path(node), (tracer.value(args[0]),), shape_of(node), {"eps": eps}, params)


def _reshape_to(tracer: Tracer, node: fx.Node, source: str, shape: Shape) -> str:
    return tracer.add("reshape", _name(node, "reshape"), (source,), shape)


def _reshape(tracer: Tracer, node: fx.Node) -> str:
    return _reshape_to(tracer, node, tracer.value(_args(node)[0]), shape_of(node))


def _permute(tracer: Tracer, node: fx.Node) -> str:
    rank = len(shape_of(node).dims)
    perm = tuple(_axis(int(p), rank) for p in _args(node)[1])
    return tracer.add(
        "permute", _name(node, "permute"), (tracer.value(_args(node)[0]),), shape_of(node), {"perm": perm}
    )


def _transpose(tracer: Tracer, node: fx.Node) -> str:
    rank = len(shape_of(node).dims)
    perm = list(range(rank))
    first, second = (_axis(int(a), rank) for a in _args(node)[1:3])
    perm[first], perm[second] = perm[second], perm[first]
    name = _name(node, "transpose")
    return tracer.add("permute", name, (tracer.value(_args(node)[0]),), shape_of(node), {"perm": tuple(perm)})


def _slice_axis(tracer: Tracer, node: fx.Node, source: str, shape: Shape, axis: int, start: int, end: int) -> str:
    if axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: {node.target} selects along the batch, which cannot be exported")
    dims = (*shape.dims[:axis], end - start, *shape.dims[axis + 1 :])
    attrs = {"axis": axis, "start": start, "end": end}
    return tracer.add("slice", _name(node, "slice"), (source,), Shape(dims, shape.batch_axis), attrs)


def _select_at(tracer: Tracer, node: fx.Node, axis: int, index: int, out: Shape) -> str:
    shape = tracer.shape(_args(node)[0])
    index %= shape.dims[axis]
    piece = _slice_axis(tracer, node, tracer.value(_args(node)[0]), shape, axis, index, index + 1)
    return _reshape_to(tracer, node, piece, out)


def _select(tracer: Tracer, node: fx.Node) -> str:
    axis = _axis(int(_args(node)[1]), len(tracer.shape(_args(node)[0]).dims))
    return _select_at(tracer, node, axis, int(_args(node)[2]), shape_of(node))


def _unbind(tracer: Tracer, node: fx.Node) -> tuple[str, ...]:
    shape = tracer.shape(_args(node)[0])
    axis = _axis(int(_args(node)[1]) if len(node.args) > 1 else 0, len(shape.dims))
    outs = [shape_from(v.shape) for v in node.meta["val"]]
    return tuple(_select_at(tracer, node, axis, i, out) for i, out in enumerate(outs))


def _slice(tracer: Tracer, node: fx.Node) -> str:
    args = _args(node)
    shape = tracer.shape(args[0])
    axis = _axis(int(args[1] or 0), len(shape.dims))
    if (args[4] or 1) != 1:
        return _strided(tracer, node, axis)
    size = shape.dims[axis]
    start, end = (int(args[2] or 0), size if args[3] is None else int(args[3]))
    start, end = (min(max(v + size if v < 0 else v, 0), size) for v in (start, end))
    if (start, end) == (0, size):
        return tracer.value(args[0])
    return _slice_axis(tracer, node, tracer.value(args[0]), shape, axis, start, end)


def _strided(tracer: Tracer, node: fx.Node, axis: int) -> str:
    """Every n-th element: a reshape into groups of n, and one of each."""
    args = _args(node)
    shape, step, start = tracer.shape(args[0]), int(args[4]), int(args[2] or 0)
    if shape.dims[axis] % step or start >= step or axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: a slice with step {step} that does not divide its axis is not supported")
    groups = (*shape.dims[:axis], shape.dims[axis] // step, step, *shape.dims[axis + 1 :])
    moved = None if shape.batch_axis is None else shape.batch_axis + (shape.batch_axis > axis)
    cut = _reshape_to(tracer, node, tracer.value(args[0]), Shape(groups, moved))
    one = _slice_axis(tracer, node, cut, Shape(groups, moved), axis + 1, start, start + 1)
    return _reshape_to(tracer, node, one, shape_of(node))


def _split(tracer: Tracer, node: fx.Node) -> tuple[str, ...]:
    """Split / chunk / split_with_sizes: the sizes are read from the results."""
    shape = tracer.shape(_args(node)[0])
    axis = _axis(int(_args(node)[2]) if len(node.args) > 2 else 0, len(shape.dims))
    pieces, start = [], 0
    for result in node.meta["val"]:
        end = start + int(result.shape[axis])
        pieces.append(_slice_axis(tracer, node, tracer.value(_args(node)[0]), shape, axis, start, end))
        start = end
    return tuple(pieces)


def _concat(tracer: Tracer, node: fx.Node) -> str:
    axis = _axis(int(_args(node)[1]) if len(node.args) > 1 else 0, len(shape_of(node).dims))
    inputs = tuple(tracer.value(n) for n in _args(node)[0])
    return tracer.add("concat", _name(node, "concat"), inputs, shape_of(node), {"axis": axis})


def _scalar_or_value(tracer: Tracer, node: fx.Node, arg: Any) -> str:
    if isinstance(arg, (int, float)):
        params = {"value": torch.tensor(float(arg))}
        return tracer.add("constant", _name(node, "scalar"), (), Shape((), None), {}, params)
    return tracer.value(arg)


def _add(tracer: Tracer, node: fx.Node) -> str:
    if node.kwargs.get("alpha", 1) != 1:
        raise MptqError(f"{module_path(node)}: add with alpha is not supported")
    pair = tuple(_scalar_or_value(tracer, node, a) for a in _args(node)[:2])
    return tracer.add("add", _name(node, "add"), pair, shape_of(node))


def _mul_const(tracer: Tracer, node: fx.Node, source: Any, factor: torch.Tensor) -> str:
    params = {"value": factor.float()}
    return tracer.add("mul", _name(node, "mul"), (tracer.value(source),), shape_of(node), {}, params)


def _mul(tracer: Tracer, node: fx.Node) -> str:
    """Multiplication by a constant (LayerScale, the scale of q), or of two activations (gated units)."""
    first, second = _args(node)[:2]
    for source, factor in ((first, second), (second, first)):
        if isinstance(factor, (int, float)):
            return _mul_const(tracer, node, source, torch.tensor(float(factor)))
        if isinstance(factor, fx.Node) and tracer.is_constant(factor):
            return _mul_const(tracer, node, source, tracer.constant(factor))
    return _sigmoid_unit(tracer, node) or _product(tracer, node)


def _product(tracer: Tracer, node: fx.Node) -> str:
    pair = tuple(tracer.value(a) for a in _args(node)[:2])
    return tracer.add("product", _name(node, "product"), pair, shape_of(node))


def _sigmoid_unit(tracer: Tracer, node: fx.Node) -> str | None:
    """`x * sigmoid(slope * x)` as one activation, where its slope has a name."""
    first, second = (tracer.node(a) for a in _args(node)[:2])
    for x, gate in ((first, second), (second, first)):
        if gate is None or x is None or gate.op != "sigmoid":
            continue
        inner = tracer.by_name[gate.inputs[0]]
        slope = 1.0
        if inner.op == "mul" and inner.params["value"].numel() == 1:
            slope, inner = float(inner.params["value"]), tracer.by_name[inner.inputs[0]]
        for function, known in SIGMOID_SLOPES.items():
            if inner.name == x.name and abs(slope - known) < 1e-6:
                return _activation_of(tracer, node, x.name, function)
    return None


def _sigmoid(tracer: Tracer, node: fx.Node) -> str:
    return tracer.add("sigmoid", _name(node, "sigmoid"), (tracer.value(_args(node)[0]),), shape_of(node))


def _silu(tracer: Tracer, node: fx.Node) -> str:
    return _activation_of(tracer, node, tracer.value(_args(node)[0]), "silu")


def _relu(tracer: Tracer, node: fx.Node) -> str:
    return _activation_of(tracer, node, tracer.value(_args(node)[0]), "relu")


def _activation_of(tracer: Tracer, node: fx.Node, source: str, function: str) -> str:
    name = _name(node, function.removesuffix("_tanh"))
    return tracer.add("activation", name, (source,), shape_of(node), {"function": function})


def _neg(tracer: Tracer, node: fx.Node) -> str:
    return _mul_const(tracer, node, _args(node)[0], torch.tensor(-1.0))


def _sub(tracer: Tracer, node: fx.Node) -> str:
    """`a - b = a + (-1) b`."""
    first, second = _args(node)[:2]
    if isinstance(second, fx.Node) and not tracer.is_constant(second):
        negative = {"value": torch.tensor(-1.0)}
        name = _name(node, "negative")
        other = tracer.add("mul", name, (tracer.value(second),), tracer.shape(second), {}, negative)
    else:
        offset = -tracer.constant(second) if isinstance(second, fx.Node) else torch.tensor(-float(second))
        name, params = _name(node, "offset"), {"value": offset}
        other = tracer.add("constant", name, (), Shape(tuple(offset.shape), None), {}, params)
    return tracer.add("add", _name(node, "sub"), (_scalar_or_value(tracer, node, first), other), shape_of(node))


def _addcmul(tracer: Tracer, node: fx.Node) -> str:
    """`bias + a * b` with a constant factor: an affine map of the channels."""
    bias, first, second = _args(node)[:3]
    source, factor = (first, second) if tracer.is_constant(second) else (second, first)
    scaled = _mul_const(tracer, node, source, tracer.constant(factor))
    return tracer.add("add", _name(node, "add"), (scaled, tracer.value(bias)), shape_of(node))


def _stack(tracer: Tracer, node: fx.Node) -> "str | Stack":
    """A concatenation along a new axis; held back where only sums over that axis read it."""
    parts, shape = tuple(_args(node)[0]), shape_of(node)
    axis = _axis(int(_args(node)[1] or 0), len(shape.dims))
    if all(user.target is aten.sum.dim_IntList for user in node.users):
        return Stack(parts, axis)
    thin = Shape((*shape.dims[:axis], 1, *shape.dims[axis + 1 :]), shape.batch_axis)
    inputs = tuple(_reshape_to(tracer, node, tracer.value(part), thin) for part in parts)
    return tracer.add("concat", _name(node, "stack"), inputs, shape, {"axis": axis})


def _sum(tracer: Tracer, node: fx.Node) -> str:
    stack = tracer.values[_args(node)[0]]
    if not isinstance(stack, Stack) or list(_args(node)[1]) != [stack.axis]:
        raise MptqError(f"{module_path(node)}: a sum over {_args(node)[1]} is not supported")
    total = tracer.value(stack.parts[0])
    for part in stack.parts[1:]:
        total = tracer.add("add", _name(node, "add"), (total, tracer.value(part)), shape_of(node))
    return total


def _div(tracer: Tracer, node: fx.Node) -> str:
    divisor = _args(node)[1]
    if isinstance(divisor, fx.Node) and isinstance(tracer.values[divisor], Length):
        return _normalised(tracer, node, tracer.values[divisor])
    if isinstance(divisor, fx.Node) and tracer.is_constant(divisor):
        return _mul_const(tracer, node, _args(node)[0], 1.0 / tracer.constant(divisor))
    if not isinstance(divisor, (int, float)):
        raise MptqError(f"{module_path(node)}: division by an activation is not supported")
    return _mul_const(tracer, node, _args(node)[0], torch.tensor(1.0 / float(divisor)))


def _length(tracer: Tracer, node: fx.Node) -> Length:
    """Euclidean length over the last axis; only a division of the vector itself by it may read it."""
    args = _args(node)
    order, axes, keep = args[1], args[2], args[3]
    rank = len(shape_of(node).dims)
    if (2 if order is None else order) != 2 or not keep or [_axis(int(a), rank) for a in axes] != [rank - 1]:
        raise MptqError(f"{module_path(node)}: only the Euclidean norm over the last axis is supported")
    return Length(args[0])


def _same_length(tracer: Tracer, node: fx.Node) -> Any:
    """`clamp_min` and `expand_as` of a length; the smallest length is far below any step of a quantizer."""
    value = tracer.values[_args(node)[0]]
    if not isinstance(value, Length):
        raise MptqError(f"{module_path(node)}: {node.target} is not supported here")
    return value


def _normalised(tracer: Tracer, node: fx.Node, length: Length) -> str:
    """`x / |x|` is an RMS norm with gamma = 1 / sqrt(D)."""
    source, width = _args(node)[0], shape_of(node).dims[-1]
    if tracer.value(source) != tracer.value(length.of):
        raise MptqError(f"{module_path(node)}: division by the length of another value is not supported")
    params = {"weight": torch.full((width,), width**-0.5), "bias": torch.zeros(width)}
    attrs = {"eps": _TINY, "centered": True}
    return tracer.add("layer_norm", _name(node, "unit"), (tracer.value(source),), shape_of(node), attrs, params)


def _rms_norm(tracer: Tracer, node: fx.Node) -> str:
    args = _args(node)
    width = int(args[1][-1])
    if len(args[1]) != 1:
        raise MptqError(f"{module_path(node)}: RMS norm over {args[1]} must be over the last axis only")
    weight = torch.ones(width) if args[2] is None else tracer.constant(args[2])
    params = {"weight": weight, "bias": torch.zeros(width)}
    eps = torch.finfo(torch.float32).eps if args[3] is None else float(args[3])
    attrs = {"eps": eps, "centered": True}
    return tracer.add("layer_norm", module_path(node), (tracer.value(args[0]),), shape_of(node), attrs, params)


def _matmul(tracer: Tracer, node: fx.Node) -> str:
    pair = (tracer.value(_args(node)[0]), tracer.value(_args(node)[1]))
    return tracer.add("matmul", _name(node, "matmul"), pair, shape_of(node), {"alpha": 1.0})


def _softmax(tracer: Tracer, node: fx.Node) -> str:
    if _axis(int(_args(node)[1]), len(shape_of(node).dims)) != len(shape_of(node).dims) - 1:
        raise MptqError(f"{module_path(node)}: softmax must be over the last axis")
    return tracer.add("softmax", _name(node, "softmax"), (tracer.value(_args(node)[0]),), shape_of(node))


def _attention(tracer: Tracer, node: fx.Node) -> str:
    """scaled_dot_product_attention(q, k, v, mask) = softmax(scale q k^T + mask) v."""
    q, k, v = _args(node)[:3]
    mask = _args(node)[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    if (len(node.args) > 5 and _args(node)[5]) or node.kwargs.get("is_causal"):
        raise MptqError(f"{module_path(node)}: causal attention is not supported")
    q_shape, k_shape = tracer.shape(q), tracer.shape(k)
    scale = node.kwargs.get("scale")
    alpha = float(cast(float, scale)) if scale is not None else q_shape.dims[-1] ** -0.5
    k_t = Shape((*k_shape.dims[:-2], k_shape.dims[-1], k_shape.dims[-2]), k_shape.batch_axis)
    rank = len(k_t.dims)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    key = tracer.add("permute", _name(node, "k_transposed"), (tracer.value(k),), k_t, {"perm": perm})
    scores = Shape((*q_shape.dims[:-1], k_shape.dims[-2]), q_shape.batch_axis)
    value = tracer.add("matmul", _name(node, "scores"), (tracer.value(q), key), scores, {"alpha": alpha})
    if mask is not None:
        value = tracer.add("add", _name(node, "scores_masked"), (value, tracer.value(mask)), scores)
    value = tracer.add("softmax", _name(node, "softmax"), (value,), scores)
    return tracer.add("matmul", _name(node, "context"), (value, tracer.value(v)), shape_of(node), {"alpha": 1.0})


def _gelu(tracer: Tracer, node: fx.Node) -> str:
    tanh = node.kwargs.get("approximate", "none") == "tanh"
    return _activation_of(tracer, node, tracer.value(_args(node)[0]), "gelu_tanh" if tanh else "gelu")


def _mean(tracer: Tracer, node: fx.Node) -> str:
    shape = tracer.shape(_args(node)[0])
    axes = tuple(_axis(int(a), len(shape.dims)) for a in _args(node)[1])
    if shape.batch_axis in axes or len(shape.dims) - 1 in axes:
        raise MptqError(f"{module_path(node)}: a mean over the batch or the channels is not supported")
    keep = bool(_args(node)[2]) if len(node.args) > 2 else False
    source = tracer.value(_args(node)[0])
    return tracer.add("mean", _name(node, "mean"), (source,), shape_of(node), {"axes": axes, "keepdim": keep})


def _average_pool(tracer: Tracer, node: fx.Node) -> str:
    """Adaptive pooling of channels-first maps to one number a channel."""
    if [int(size) for size in _args(node)[1]] != [1, 1]:
        raise MptqError(f"{module_path(node)}: pooling to {_args(node)[1]} is not supported")
    rank = len(shape_of(node).dims)
    attrs = {"axes": (rank - 2, rank - 1), "keepdim": True}
    return tracer.add("mean", _name(node, "mean"), (tracer.value(_args(node)[0]),), shape_of(node), attrs)


def _roll(tracer: Tracer, node: fx.Node) -> str:
    shape = shape_of(node)
    shifts = tuple(int(s) for s in _args(node)[1])
    axes = tuple(_axis(int(a), len(shape.dims)) for a in _args(node)[2])
    attrs = {"shifts": shifts, "axes": axes}
    return tracer.add("roll", _name(node, "roll"), (tracer.value(_args(node)[0]),), shape, attrs)


def _pad(tracer: Tracer, node: fx.Node) -> str:
    if any(int(p) for p in _args(node)[1]):
        raise MptqError(f"{module_path(node)}: padding is not supported; choose an image size that the windows divide")
    return tracer.value(_args(node)[0])


HANDLERS: dict[Any, Handler] = {
    aten.adaptive_avg_pool2d.default: _average_pool,
    aten.add.Tensor: _add,
    aten.add_.Tensor: _add,
    aten.addcmul.default: _addcmul,
    aten.alias.default: _identity,
    aten.cat.default: _concat,
    aten.chunk.default: _split,
    aten.clamp_min.default: _same_length,
    aten.clone.default: _identity,
    aten.contiguous.default: _identity,
    aten.conv2d.default: _patch_embed,
    aten.detach.default: _identity,
    aten.div.Tensor: _div,
    aten.dropout.default: _identity,
    aten.expand_as.default: _same_length,
    aten.flatten.using_ints: _reshape,
    aten.gelu.default: _gelu,
    aten.layer_norm.default: _layer_norm,
    aten.linalg_vector_norm.default: _length,
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.mean.dim: _mean,
    aten.mul.Tensor: _mul,
    aten.neg.default: _neg,
    aten.pad.default: _pad,
    aten.permute.default: _permute,
    aten.relu.default: _relu,
    aten.reshape.default: _reshape,
    aten.rms_norm.default: _rms_norm,
    aten.roll.default: _roll,
    aten.scaled_dot_product_attention.default: _attention,
    aten.select.int: _select,
    aten.sigmoid.default: _sigmoid,
    aten.silu.default: _silu,
    aten.slice.Tensor: _slice,
    aten.softmax.int: _softmax,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.squeeze.dim: _reshape,
    aten.stack.default: _stack,
    aten.sub.Tensor: _sub,
    aten.sum.dim_IntList: _sum,
    aten.to.dtype: _identity,
    aten.transpose.int: _transpose,
    aten.type_as.default: _identity,
    aten.unbind.int: _unbind,
    aten.unsqueeze.default: _reshape,
    aten.view.default: _reshape,
}
