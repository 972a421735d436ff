"""The functions that no runtime rounds correctly."""

import onnx

TRANSCENDENTAL = frozenset({"Erf", "Exp", "Gelu", "Sigmoid", "Tanh"})
"""ONNX ops whose float results are no part of the promise, only the codes behind them."""


def function_name(node: onnx.NodeProto) -> str:
    """The name of a transcendental, as `mptq_export.quantize.certification.assumption.assumed` knows it."""
    if node.op_type == "Gelu" and any(entry.name == "approximate" and entry.s == b"tanh" for entry in node.attribute):
        return "gelu_tanh"
    return node.op_type.lower()
