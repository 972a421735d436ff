"""Values that no node computes: the image, and what depends on weights alone."""

import math

import torch

from mptq_export.capture.graph import Node
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError


def emit_input(context: Context, node: Node, exponent: int) -> Floats:
    """The float32 input itself, of any size."""
    if context.input_type != "float32":
        raise MptqError(f"{node.name}: this model reads its input as floats; export without --input uint8")
    tensor = "input"
    if exponent != 0:
        tensor = context.onnx.one("Mul", [tensor, context.onnx.scalar(2.0**exponent)], f"input.x{exponent}")
    return Floats(tensor=tensor, exponent=exponent, bound=math.inf, flat=False)


def emit_constant(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """Codes of a constant, as an initializer."""
    stored = codes(node.params["value"].cpu(), quant).to(torch.uint8).numpy()
    return Codes.of(quant, context.onnx.constant(f"{key}.codes", stored), flat=False)
