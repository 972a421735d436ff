"""Reading a file, checking feeds and tracing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from integer_models import assert_same_bits, model, node
from onnx import TensorProto

from kernels_ref import Interpreter, InterpreterError

X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


def codes_model(opset: int = 21) -> onnx.ModelProto:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    constants = {"s": np.float32(0.5), "z": np.uint8(3)}
    return model(nodes, {"x": X}, {"q": TensorProto.UINT8, "y": TensorProto.FLOAT}, constants, opset)


def fails(source: Path | onnx.ModelProto, match: str) -> None:
    with pytest.raises(InterpreterError, match=match) as caught:
        Interpreter(source)
    assert "\n" not in str(caught.value)


def test_quantize_rounds_halves_to_even_and_saturates():
    x = np.asarray([[-1e9, -0.75, -0.25, 0.25, 0.75, 1.25, 1e9]], np.float32)
    assert assert_same_bits(codes_model(), {"x": x})["q"].tolist() == [[0, 1, 3, 3, 5, 5, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_along_an_axis(dtype: type, axis: int):
    size = X.shape[axis]
    constants = {"s": np.linspace(0.01, 0.2, size, dtype=np.float32), "z": np.arange(size).astype(dtype)}
    nodes = [node("QuantizeLinear", "x s z", "q", axis=axis), node("DequantizeLinear", "q s z", "y", axis=axis)]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert_same_bits(model(nodes, {"x": X}, {"q": kind, "y": TensorProto.FLOAT}, constants), {"x": X})


def test_the_trace_holds_every_tensor_that_a_node_makes():
    assert Interpreter(codes_model()).run({"x": X}, trace=True).keys() == {"q", "y"}


def test_a_run_leaves_its_feeds_alone():
    feed = X.copy()
    Interpreter(codes_model()).run({"x": feed})
    assert (feed == X).all()


@pytest.mark.parametrize("content", [b"", b"garbage", codes_model().SerializeToString()[:90]])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    fails(path, "not ONNX|not an ONNX file|nothing makes|no graph output")


def test_a_missing_file(tmp_path: Path):
    fails(tmp_path / "none.onnx", "cannot read .*none.onnx")


def test_an_old_opset():
    fails(codes_model(opset=6), "opset 6 is too old")


def test_an_unknown_op_and_an_unknown_domain():
    proto = codes_model()
    proto.graph.node[0].op_type = "Celu"
    fails(proto, "unknown op Celu; known are .*DequantizeLinear")
    proto = codes_model()
    proto.graph.node[1].domain = "com.example"
    fails(proto, "unknown op com.example::DequantizeLinear")


def test_an_unsorted_a_cyclic_and_a_dangling_graph():
    proto = codes_model()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])
    fails(proto, "cyclic or unsorted")
    proto = codes_model()
    proto.graph.node[0].input[0] = "y"
    fails(proto, "cyclic or unsorted")
    proto = codes_model()
    proto.graph.node[0].input[0] = "nowhere"
    fails(proto, "nothing makes")


@pytest.mark.parametrize("location", ["/etc/hostname", "../weights.bin", "a/../../weights.bin", "C:\\w.bin", ""])
def test_external_data_outside_the_folder(tmp_path: Path, location: str):
    proto = codes_model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    fails(path, "outside the model's folder")
    fails(proto, "give the model's path")


def test_external_data_beside_the_model(tmp_path: Path):
    path = tmp_path / "m.onnx"
    onnx.save(codes_model(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").is_file()
    expected = Interpreter(codes_model()).run({"x": X})
    assert (Interpreter(path).run({"x": X})["y"] == expected["y"]).all()
    (tmp_path / "w.bin").unlink()
    fails(path, "cannot read the data of tensor")


@pytest.mark.parametrize(
    ("feeds", "match"),
    [
        ({}, "no feed for graph input x"),
        ({"x": X, "extra": X}, "extra is not a graph input"),
        ({"x": X.astype(np.float64)}, "float64; the graph input is float32"),
        ({"x": X[0]}, "has shape"),
        ({"x": X[:, :3]}, r"has shape \(3, 3\); the graph input is \? x 4"),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, np.ndarray], match: str):
    proto = codes_model()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(InterpreterError, match=match):
        Interpreter(proto).run(feeds)
