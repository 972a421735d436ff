"""The exact form spelled out: a pass over a finished model, after which it computes the same bits.

What is written besides: the batch as a number, all shapes, all attributes, all optional inputs, an Expand for every
broadcast. No number is computed otherwise: an Expand repeats, a Reshape moves, and what was a default is written.
"""

import onnx

from mptq_export.emit.sonnx.fixed_shapes import with_batch
from mptq_export.emit.sonnx.movement import MOVES, pieces
from mptq_export.emit.sonnx.products import full_bias, same_stacks, two_axes
from mptq_export.emit.sonnx.spelling import Spelling
from mptq_export.profile.broadcasting import broadcast_inputs


def spelled_out(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """A model of the exact form in the form of `--profile sonnx`.

    Args:
        model: as emitted, with its batch free, before its metadata is written.
        batch: inputs that it takes at once.

    Returns:
        Another model, checked, with the type and shape of every tensor.

    Raises:
        MptqError: a size does not follow from the batch.
    """
    spelling = Spelling(with_batch(model, batch))
    for original in spelling.view.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        spelling.fill(node)
        if node.op_type == "Split" and pieces(node, spelling):
            continue
        if node.op_type in MOVES:
            MOVES[node.op_type](node, spelling)
        elif node.op_type == "Gemm":
            full_bias(node, spelling)
        elif node.op_type == "MatMul":
            if two_axes(node, spelling):
                continue
            same_stacks(node, spelling)
        sizes = spelling.shape(node.output[0])
        for place in broadcast_inputs(node):
            node.input[place] = spelling.expand(node.input[place], sizes)
        spelling.put(node)
    graph = spelling.view.model.graph
    return spelling.onnx.model(list(graph.input), list(graph.output), model.producer_version)
