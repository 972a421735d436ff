"""The step of an output is that of the codes that it is made of, through what only moves them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mptq_export.verify.elsewhere.final_codes import step_of


def model(*behind: onnx.NodeProto, scale: np.ndarray) -> onnx.ModelProto:
    held = [
        numpy_helper.from_array(scale.astype(np.float32), "s"),
        numpy_helper.from_array(np.zeros(scale.shape, np.uint8), "z"),
        numpy_helper.from_array(np.array([1, -1]), "shape"),
    ]
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]), *behind]
    ends = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4])], [helper.make_empty_tensor_value_info("y")]
    return helper.make_model(helper.make_graph(nodes, "g", *ends, held))


RESHAPE = helper.make_node("Reshape", ["d", "shape"], ["y"])
EXP = helper.make_node("Exp", ["d"], ["y"])


def test_the_step_is_found_behind_a_reshape():
    assert step_of(model(RESHAPE, scale=np.array(0.25)), "y") == 0.25
    assert step_of(model(RESHAPE, scale=np.array(0.25)), "d") == 0.25


@pytest.mark.parametrize("made", [model(EXP, scale=np.array(0.25)), model(RESHAPE, scale=np.array([0.25, 0.5, 1, 2]))])
def test_what_is_no_code_of_one_step_has_none(made: onnx.ModelProto):
    assert step_of(made, "y") is None
    assert step_of(made, "nothing") is None
