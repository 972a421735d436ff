"""A file whose codes are off as a runtime's are: what stands for the runtimes that nobody can run here.

No two runtimes give a portable file's codes alike: each scales its sums and computes its functions in its own way, so
that a value that lies between two codes becomes one or the other. Here every value gets an even noise in front of the
QuantizeLinear that rounds it. An eighth of a step of 8-bit codes either way moves one code in sixteen. Over a whole
network that is a little more than what Qualcomm's HTP does in its simulator and OpenVINO in bfloat16 (0.2 to 0.9 of it
for the demo's outputs). Of 16-bit codes HTP gets the last bits wrong: up to 36 steps on average, by op.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

#: Steps of noise either way, by the width of the codes.
NUDGE = {8: 0.125, 16: 32.0}

_WIDTHS = {onnx.TensorProto.UINT8: 8, onnx.TensorProto.INT8: 8, onnx.TensorProto.UINT16: 16, onnx.TensorProto.INT16: 16}


def nudged(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """A copy with noise in front of every QuantizeLinear of one scale.

    Args:
        model: a portable file.
        seed: of the noise; the same one gives the same noise on every load.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        scale = constants.get(node.input[1]) if node.op_type == "QuantizeLinear" else None
        zero = constants.get(node.input[2]) if scale is not None and len(node.input) > 2 else None
        width = _WIDTHS.get(zero.data_type) if zero is not None else 8
        if scale is not None and width is not None:
            step = float(np.ravel(numpy_helper.to_array(scale))[0]) * NUDGE[width]
            value, noise = node.input[0], f"{node.name}.noise"
            nodes.append(
                helper.make_node(
                    "RandomUniformLike", [value], [noise], low=-step, high=step, seed=float(1000 * seed + len(nodes))
                )
            )
            nodes.append(helper.make_node("Add", [value, noise], [f"{noise}.sum"]))
            node.input[0] = f"{noise}.sum"
        nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
