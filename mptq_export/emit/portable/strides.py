"""Convolutions of a stride that a target does not have: in steps of strides that it has.

    a convolution of kernel and stride p = a b
        = each block of a x a pixels becomes a a C channels (codes as they are), and a convolution of stride b

The first is a convolution with a single 1 in each kernel, which every runtime has among its fast kernels.
"""

import numpy as np
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Windows
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.stored_weight import dequantized
from mptq_export.emit.portable.values import Tensor
from mptq_export.support.errors import MptqError


def within_stride(
    context: PortableContext, node: Node, x: Tensor, kernels: NDArray[np.int8], windows: Windows
) -> tuple[Tensor, NDArray[np.int8], Windows]:
    """What is left to convolve of a convolution, once its stride is one that the target has.

    Args:
        context: the emission; its form says the largest stride.
        node: the layer.
        x: [B, C, H, W] in codes.
        kernels: codes [N, C, kh, kw].
        windows: of the convolution.

    Raises:
        MptqError: windows of that stride overlap, or it has no divisor that is small enough.
    """
    largest = context.form.largest_stride
    while largest is not None and max(windows.stride) > largest:
        block = [1 if size <= largest else _divisor(size, largest) for size in windows.stride]
        if block == [1, 1] or windows != Windows(kernel=windows.stride, stride=windows.stride):
            raise MptqError(
                f"rule 'strides' of this --target: {node.name} is a convolution of kernel {windows.kernel} and stride "
                f"{windows.stride}, which has no form in strides of at most {largest}; choose another --target"
            )
        x = _blocks_to_channels(context, f"{node.name}.blocks_{'x'.join(map(str, block))}", x, kernels.shape[1], block)
        kernels = _of_blocks(kernels, block)
        windows = Windows(kernel=kernels.shape[2:], stride=kernels.shape[2:])
    return x, kernels, windows


def _divisor(size: int, largest: int) -> int:
    """The largest divisor of a size within a limit."""
    return max(each for each in range(1, largest + 1) if size % each == 0)


def _blocks_to_channels(context: PortableContext, name: str, x: Tensor, channels: int, block: list[int]) -> Tensor:
    """[B, C, H, W] as [B, C a b, H / a, W / b] in the same codes; the channel is the slowest of three."""
    assert x.quant is not None, name
    count = channels * block[0] * block[1]
    kernels = np.eye(count, dtype=np.int8).reshape(count, channels, *block)
    weight = dequantized(context, f"{name}.weight", kernels, np.ones(count, np.float32), axis=0)
    tensor = context.onnx.one("Conv", [x.tensor, weight], name, kernel_shape=block, strides=block)
    return context.coded(Tensor(tensor=tensor, flat=False, quant=None), x.quant, name)


def _of_blocks(kernels: NDArray[np.int8], block: list[int]) -> NDArray[np.int8]:
    """Kernels [N, C, a kh, b kw] as they read the channels of blocks: [N, C a b, kh, kw]."""
    count, channels, height, width = kernels.shape
    a, b = block
    split = kernels.reshape(count, channels, height // a, a, width // b, b)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(count, channels * a * b, height // a, width // b)
