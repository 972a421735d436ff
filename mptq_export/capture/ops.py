"""The ops of the canonical graph: one class an op, with the attributes that it has.

B is the number of images; x is the value of the first input. Axes are counted from the front, with the batch. Tensors
(`Node.params`) are named with the op that has them. `Op` is closed: a reader asks `isinstance(node.op, Linear)`, which
also tells mypy the attributes, or names the one op that it can get, `node.attributes(Linear)`.
"""

import re
from dataclasses import dataclass

from mptq_export.capture.function_names import Function
from mptq_export.recipe.outputs import Output


@dataclass(frozen=True)
class Input:
    """The images, float32 [B, C, H, W]."""


@dataclass(frozen=True)
class Constant:
    """`value`, of any shape, the same for every batch."""


@dataclass(frozen=True)
class PatchEmbed:
    """A linear layer over the patches that tile an NCHW image: [B, C, H, W] to [B, H / ph, W / pw, D].

    Params: `weight` [D, C, ph, pw] and `bias` [D].

    Attributes:
        patch: height and width of a patch in pixels, (ph, pw).
    """

    patch: tuple[int, int]


@dataclass(frozen=True)
class Linear:
    """`x W^T + b` over the last axis: [..., K] to [..., N]. Params: `weight` [N, K] and `bias` [N]."""


@dataclass(frozen=True)
class Depthwise:
    """A convolution of each channel of a map by itself: [B, H, W, C] to [B, oh, ow, M], M a multiple of C.

    Params: `weight` [M, kh * kw] and `bias` [M]; output channel m reads channel m // (M / C).

    Attributes:
        kernel: height and width of a window, (kh, kw).
        stride: steps down and to the right from one window to the next.
        pads: rows and columns of zeros around the map: top, left, bottom, right.
        dilation: steps down and to the right from one element of a window to the next.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class LayerNorm:
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axis, of size D. Params: `weight` and `bias` [D].

    Attributes:
        eps: added to the variance, in squared units of x.
        centered: no mean is subtracted (an RMS norm), because the model takes none or x has mean zero.
        plain: there is neither weight nor bias.
    """

    eps: float
    centered: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Matmul:
    """`alpha * a @ b`: [..., M, K] and [..., K, N] to [..., M, N].

    Attributes:
        alpha: a factor of the product: for scores, the scale of the queries.
    """

    alpha: float = 1.0


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis."""


@dataclass(frozen=True)
class Activation:
    """A function of single elements.

    Attributes:
        function: a name of `capture.activations.FUNCTIONS`.
    """

    function: Function


@dataclass(frozen=True)
class Relu:
    """`max(x, 0)`: the one activation function that is exact in floats, and of codes a limit."""


@dataclass(frozen=True)
class Add:
    """`a + b`, broadcast against each other."""


@dataclass(frozen=True)
class Mul:
    """`x * value`. Params: `value`, which broadcasts against x."""


@dataclass(frozen=True)
class Product:
    """`a * b` of two computed values."""


@dataclass(frozen=True)
class Mean:
    """The mean over some axes.

    Attributes:
        axes: none of them is the batch.
        keepdim: whether they stay, with size one.
    """

    axes: tuple[int, ...]
    keepdim: bool


@dataclass(frozen=True)
class Max:
    """The largest element along an axis, which stays with size one.

    Attributes:
        axis: not the batch.
    """

    axis: int


@dataclass(frozen=True)
class Resample:
    """A linear map along an axis of which each result reads few elements: resizing, or a mean of uneven windows.

    Params: `weight` [N, K], mostly zeros.

    Attributes:
        axis: the axis, not the batch; K long before and N long after.
    """

    axis: int


@dataclass(frozen=True)
class Concat:
    """Values one behind the other; one without a batch is repeated for every image.

    Attributes:
        axis: the axis along which they stand.
    """

    axis: int


@dataclass(frozen=True)
class Pad:
    """Zeros at the ends of an axis.

    Attributes:
        axis: the axis that grows.
        before: how many stand before the first element.
        after: how many stand behind the last one.
    """

    axis: int
    before: int
    after: int


@dataclass(frozen=True)
class Rotary:
    """A rotary position embedding, `x cos + swap(x) sin`: swap gives the other coordinate of every rotated plane.

    Params: `cos` and `sin`, the tables with their signs, [tokens, D] or as x without its batch.

    Attributes:
        pairs: a plane is two neighbouring channels; else channels c and c + D / 2.
    """

    pairs: bool


@dataclass(frozen=True)
class ToPixels:
    """Normalised inputs as pixels again: `x * gain + offset`, [B, C, H, W].

    Attributes:
        gain: one a channel, in pixel values from 0 to 255.
        offset: the same.
    """

    gain: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class Outputs:
    """Everything that the model gives, each flattened, side by side: [B, values].

    It ends every graph but one that gives nothing but `logits`, which ends with their value itself.

    Attributes:
        given: names and kinds, one an input.
    """

    given: tuple[Output, ...]


@dataclass(frozen=True)
class Reshape:
    """The elements of x in order, in the shape of the node."""


@dataclass(frozen=True)
class Permute:
    """The axes of x in another order.

    Attributes:
        perm: for every axis of the result, the axis of x that it is.
    """

    perm: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """The elements [start, end) along an axis.

    Attributes:
        axis: the axis that is cut; not the batch.
        start: first position that is taken.
        end: first position that no longer is.
    """

    axis: int
    start: int
    end: int


@dataclass(frozen=True)
class Roll:
    """A cyclic shift.

    Attributes:
        shifts: positions towards the end, one an axis.
        axes: the axes; none of them is the batch.
    """

    shifts: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """All windows of a map, row by row, channels last: [B, H, W, C] to [B, oh, ow, kh * kw * C].

    With the defaults it is the map itself.

    Attributes:
        kernel: height and width of a window, (kh, kw).
        stride: steps down and to the right from one window to the next.
        pads: rows and columns around the map: top, left, bottom, right.
        edge: whether they repeat the map's edge; else they are zeros.
        dilation: steps down and to the right from one element of a window to the next.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    edge: bool = False
    dilation: tuple[int, int] = (1, 1)

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width of the part of a map that a window covers."""
        rows, columns = ((size - 1) * step + 1 for size, step in zip(self.kernel, self.dilation, strict=True))
        return rows, columns


Movement = Reshape | Permute | Slice | Roll | Windows
"""Only moves, repeats or selects data, or puts zeros around it: it commutes with any element-wise quantizer."""

Weighted = Linear | PatchEmbed | Depthwise
"""Has a weight and a bias for each output channel (the last axis)."""

Op = (
    Input
    | Constant
    | Weighted
    | LayerNorm
    | Matmul
    | Softmax
    | Activation
    | Relu
    | Add
    | Mul
    | Product
    | Mean
    | Max
    | Resample
    | Concat
    | Pad
    | Rotary
    | ToPixels
    | Outputs
    | Movement
)
"""Any canonical op."""


def label(op: Op) -> str:
    """The name of an op in messages: `layer_norm` of a `LayerNorm`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(op).__name__).lower()
