"""mptq-export: a trained vision transformer in, one bit-exact integer QDQ ONNX file out."""

__version__ = "0.1.0"
