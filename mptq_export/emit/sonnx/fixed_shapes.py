"""Every size a number: a batch instead of a free one, and the shapes that follow from it."""

import onnx

from mptq_export.support.errors import MptqError
from mptq_export.targets.file.view import FileView


def with_batch(model: onnx.ModelProto, batch: int) -> FileView:
    """A copy of a model with a fixed batch, and the shape of every tensor.

    Args:
        model: with a free batch, which is the only size that is free.
        batch: inputs at once.

    Raises:
        MptqError: a size does not follow from the batch.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    free: set[str] = set()
    for entry in fixed.graph.input:
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                free.add(dim.dim_param)
                dim.dim_value = batch
    for entry in fixed.graph.output:
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()  # a head of a map may have more rows than the batch: inferred
    if len(free) > 1:
        raise MptqError(f"--profile sonnx fixes one free size, the batch; this model has {', '.join(sorted(free))}")
    inferred = onnx.shape_inference.infer_shapes(fixed, check_type=True, strict_mode=True, data_prop=True)
    view = FileView(inferred)
    for node in view.nodes:
        for name in filter(None, node.output):
            if min(view.shapes.get(name, [-1]), default=0) < 0:
                raise MptqError(
                    f"--profile sonnx: the shape of {name} does not follow from the batch; report the model"
                )
    return view
