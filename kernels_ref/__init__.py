"""A NumPy interpreter for quantized ONNX files, bit for bit what onnxruntime's fused integer kernels compute.

It reads nothing but the file: no option says how to compute.
"""

from kernels_ref.errors import InterpreterError
from kernels_ref.interpreter import Interpreter
from kernels_ref.kernels import Kernel
from kernels_ref.onnx_file import read_model

__version__ = "0.2.2"

__all__ = ["Interpreter", "InterpreterError", "Kernel", "read_model"]
