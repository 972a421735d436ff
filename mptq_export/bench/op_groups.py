"""What kind of work an op does."""

from collections.abc import Sequence
from typing import Literal

from mptq_export.verify.kernels.operands import MATMUL_OPS

Group = Literal["matmul", "element-wise", "data movement"]
GROUPS: tuple[Group, ...] = ("matmul", "element-wise", "data movement")

_MOVEMENT = {
    "Compress",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MemcpyFromHost",
    "MemcpyToHost",
    "Pad",
    "ReorderInput",
    "ReorderOutput",
    "Reshape",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}


def group_of(op: str, output_shape: Sequence[int] = ()) -> Group:
    """The group of a node of onnxruntime's optimised graph.

    Matmuls and convolutions are ``matmul``, with all that is fused into them; what only moves or names values is
    ``data movement``; all else reads and writes values one after another, reductions and normalisations too, and
    is ``element-wise``. A matmul with a single column is a reduction.

    Args:
        op: its op.
        output_shape: shape of what it gives, where that is known.
    """
    if op in MATMUL_OPS and tuple(output_shape[-1:]) != (1,):
        return "matmul"
    return "data movement" if op in _MOVEMENT else "element-wise"
