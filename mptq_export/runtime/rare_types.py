"""Tensors of types that NumPy does not have, read as onnxruntime holds them."""

import ctypes
import math
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

#: onnxruntime's name of a type, its number in ONNX and its bits; elements of 4 bits and fewer share bytes.
RARE_TYPES = {
    "tensor(bfloat16)": (TensorProto.BFLOAT16, 16),
    "tensor(float8e4m3fn)": (TensorProto.FLOAT8E4M3FN, 8),
    "tensor(float8e4m3fnuz)": (TensorProto.FLOAT8E4M3FNUZ, 8),
    "tensor(float8e5m2)": (TensorProto.FLOAT8E5M2, 8),
    "tensor(float8e5m2fnuz)": (TensorProto.FLOAT8E5M2FNUZ, 8),
    "tensor(int4)": (TensorProto.INT4, 4),
    "tensor(uint4)": (TensorProto.UINT4, 4),
}


def to_array(value: ort.OrtValue) -> NDArray[Any]:
    """The elements of a tensor, in the type that the onnx package has for them."""
    kind, bits = RARE_TYPES.get(value.data_type(), (None, 0))
    if kind is None:
        array: NDArray[Any] = value.numpy()
        return array
    size = -(-math.prod(value.shape()) * bits // 8)
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return numpy_helper.to_array(TensorProto(data_type=kind, dims=value.shape(), raw_data=data))
