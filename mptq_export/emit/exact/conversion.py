"""From floats to codes and back, and the handlers of ops that have one representation and are read in the other."""

from mptq_export.capture.graph import Node
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.context import CodesHandler, Context
from mptq_export.emit.exact.quantizer import EVERYTHING, quantize
from mptq_export.emit.exact.values import Codes, Floats
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant


def encode(
    onnx: OnnxBuilder,
    tensor: str,
    quant: ActivationQuant,
    name: str,
    *,
    step: float,
    flat: bool,
    fused: bool = True,
    results: Results | None = None,
) -> Codes:
    """The codes of a float tensor.

    onnxruntime makes an integer kernel of a matmul whose result is read by one QuantizeLinear, or by none. Where
    there can be more (`fused` is false, or regions), a product with a power of two stands between.

    Args:
        onnx: the graph under construction.
        tensor: float32.
        quant: its quantizer.
        name: of the codes.
        step: number in the tensor that one code stands for.
        flat: as for `Value`.
        fused: whether nothing else reads the tensor.
        results: all that the tensor can hold, where a function gives it.
    """
    if onnx.producer(tensor) in ("Gemm", "MatMul") and (quant.regions or not fused):
        tensor, step = onnx.one("Mul", [tensor, onnx.scalar(0.5)], f"{name}.half"), step / 2
    span = EVERYTHING if results is None else results.reached(quant)
    return Codes.of(quant, quantize(onnx, tensor, step, quant, name, span=span), flat=flat)


def decode(onnx: OnnxBuilder, codes: Codes, name: str, exponent: int) -> Floats:
    """Codes as float32 in units of 2 ** -exponent."""
    # Half of a doubled step: with a product between, onnxruntime finds no DequantizeLinear to fuse with what follows.
    step = codes.scale * 2.0 ** (exponent + 1)
    doubled = onnx.dequantize(codes.tensor, step, codes.zero_point, f"{name}.doubled{exponent}")
    tensor = onnx.one("Mul", [doubled, onnx.scalar(0.5)], f"{name}.x{exponent}")
    return Floats(tensor=tensor, exponent=exponent, bound=codes.largest * codes.scale * 2.0**exponent, flat=codes.flat)


def encode_floats(context: Context, node: Node, quant: ActivationQuant, key: str) -> Codes:
    """The codes of what is computed in float32."""
    x = context.read_floats(node.name, 0)
    return encode(context.onnx, x.tensor, quant, key, step=quant.scale * 2.0**x.exponent, flat=x.flat, fused=False)


def encode_result(context: Context, node: Node, quant: ActivationQuant, key: str, emit: CodesHandler) -> Codes:
    """The codes of a node that gives codes; of its floats where those are read too, as it has a quantizer then."""
    has_own_quantizer = f"{node.name}.output" in context.sites
    return (encode_floats if has_own_quantizer else emit)(context, node, quant, key)


def decode_result(context: Context, node: Node, exponent: int, emit: CodesHandler) -> Floats:
    """The codes of a node with a quantizer of its own, as float32 in units of 2 ** -exponent."""
    key = f"{node.name}.output"
    return decode(context.onnx, emit(context, node, context.recipe.activations[key], key), key, exponent)
