"""The functions that no runtime rounds correctly."""

import onnx

from mptq_export.quantize.certification.assumption import Certified

TRANSCENDENTAL: dict[str, Certified] = {
    "Erf": "erf",
    "Exp": "exp",
    "Gelu": "gelu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
"""ONNX ops whose float results are no part of the promise, only the codes behind them; and what they compute."""


def function_name(node: onnx.NodeProto) -> Certified:
    """The name of a transcendental, or of the one in a product, as `assumed` knows it."""
    if node.op_type == "Gelu" and any(entry.name == "approximate" and entry.s == b"tanh" for entry in node.attribute):
        return "gelu_tanh"
    return "sigmoid" if node.op_type == "Mul" else TRANSCENDENTAL[node.op_type]
