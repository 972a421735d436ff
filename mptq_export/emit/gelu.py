"""GELU on codes: at most 256 arguments, each result certified to be clear of a rounding boundary."""

from typing import TYPE_CHECKING

from mptq_export.capture.graph import Node
from mptq_export.emit.forms import Codes
from mptq_export.quantize.certify import MARGIN, gelu_results, region_margin
from mptq_export.recipe.schema import ActivationQuant

if TYPE_CHECKING:
    from mptq_export.emit.emitter import Emitter


def emit_codes(emitter: "Emitter", node: Node, quant: ActivationQuant, name: str) -> Codes:
    """DQ -> Gelu -> Q (of every region), with its margin proved."""
    onnx = emitter.onnx
    source = emitter.codes(node, "input")
    steps = gelu_results(emitter.recipe.activations[f"{node.name}.input"], node.attrs["approximate"]) / quant.scale
    found = region_margin(steps, quant)
    advice = "the recipe is not certified for this layer: export again without --recipe"
    emitter.proof.at_least(node.name, "Gelu margin in steps", found, MARGIN, advice)
    x = onnx.dequantize(source.tensor, source.scale, source.zero_point, f"{node.name}.input")
    y = onnx.one("Gelu", [x], node.name, approximate=node.attrs["approximate"])
    return emitter.coded(y, quant.scale, quant, f"{name}.codes", source.flat, results=steps)
