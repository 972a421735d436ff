"""Rules about what is stored: weights, biases, gains and offsets of norms."""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx

from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.view import WEIGHTED, Codes, FileView

#: The axis of output channels of a weight, with no transposition in a Gemm.
_CHANNELS = {"Gemm": 1, "Conv": 0}

#: How far a bias's step may be from the product of two others, of itself: both are float32.
_ROUNDING = 1e-6


def weights(kinds: Iterable[str], source: str, *, zero: bool = True) -> FileRule:
    """Codes of weights: types, a scale for each output channel, zero points.

    Args:
        kinds: types that are taken.
        source: as in `FileRule`.
        zero: whether all zero points are 0; else one channel of each weight has another one.
    """
    allowed = tuple(kinds)

    def broken(file: FileView) -> Iterator[str]:
        for node, codes in _weights(file):
            if codes is None or not codes.stored:
                yield f"the weight of {node.name} has no stored codes"
                continue
            if codes.kind not in allowed:
                yield f"the weight of {node.name} is {codes.kind}"
            if codes.scale.size > 1 and codes.axis != _CHANNELS[node.op_type]:
                yield f"the weight of {node.name} has its scales along axis {codes.axis}"
            if zero and codes.zero_point.any():
                yield f"the weight of {node.name} has zero points other than 0"
            if not zero and not codes.zero_point.any():
                yield f"all zero points of the weight of {node.name} are 0"

    points = "zero points 0" if zero else "one channel with a zero point other than 0"
    says = f"weights are {' or '.join(allowed)}, a scale for each output channel, {points}"
    return FileRule("weights", says, source, broken)


def int32_bias(source: str) -> FileRule:
    """A bias in steps of the accumulator."""

    def broken(file: FileView) -> Iterator[str]:
        for node, weight in _weights(file):
            if len(node.input) < 3:
                continue
            x, bias = file.codes(node.input[0]), file.codes(node.input[2])
            if bias is None or bias.kind != "int32" or bias.zero_point.any():
                yield f"the bias of {node.name} is no int32 with zero point 0"
            elif x is not None and weight is not None and not _near(bias.scale, x.scale * weight.scale):
                yield f"the bias of {node.name} is not in steps of its input times its weight"

    return FileRule("bias", "biases are int32 in steps of input times weight, zero point 0", source, broken)


def float_bias(source: str) -> FileRule:
    """A bias of floats: no DequantizeLinear reads int32."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("DequantizeLinear"):
            codes = file.codes(node.output[0])
            if codes is not None and codes.kind == "int32":
                yield f"{node.name} reads int32"

    return FileRule("bias", "biases are float: no DequantizeLinear of int32", source, broken)


def gemm_plain(source: str) -> FileRule:
    """A Gemm is a product of rows with a matrix as it is stored."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Gemm"):
            transposed = [name for name in ("transA", "transB") if file.attribute(node, name, 0) != 0]
            scaled = [name for name in ("alpha", "beta") if file.attribute(node, name, 1.0) != 1.0]
            if transposed or scaled:
                yield f"{node.name} has {' and '.join((*transposed, *scaled))}"

    return FileRule("gemm", "no transposition and no factor in a Gemm", source, broken)


def float_norms(source: str) -> FileRule:
    """Gain and offset of a norm as floats."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("LayerNormalization"):
            if any(name not in file.stored for name in node.input[1:]):
                yield f"{node.name} has gain or offset in codes"

    return FileRule("norms", "gain and offset of a LayerNormalization are float", source, broken)


def norms_in_codes(source: str) -> FileRule:
    """Gain and offset of a norm as codes of 8 bits, of one scale, no zero point in the middle."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("LayerNormalization"):
            for name in node.input[1:]:
                codes = file.codes(name)
                if codes is None or codes.kind != "int8" or codes.scale.size != 1 or not codes.zero_point.all():
                    yield f"{name} is no int8 of one scale with a zero point other than 0"

    says = "gain and offset of a LayerNormalization are int8, one scale each, zero point not 0"
    return FileRule("norms", says, source, broken)


def norms_in_integers(source: str) -> FileRule:
    """A norm as HTP computes it in integers: gain uint8 of one scale, offset int32 in steps of input times gain."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("LayerNormalization"):
            x, gain, offset = (file.codes(name) for name in node.input[:3])
            if gain is None or gain.kind != "uint8" or gain.scale.size != 1:
                yield f"the gain of {node.name} is no uint8 of one scale"
            elif offset is None or offset.kind != "int32":
                yield f"the offset of {node.name} is no int32"
            elif x is not None and not _near(offset.scale, x.scale * gain.scale):
                yield f"the offset of {node.name} is not in steps of its input times its gain"

    says = "the gain of a LayerNormalization is uint8 of one scale, its offset int32 in steps of input times gain"
    return FileRule("norms", says, source, broken)


def epsilon(source: str) -> FileRule:
    """A norm says its epsilon."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("LayerNormalization"):
            if file.attribute(node, "epsilon", None) is None:
                yield f"{node.name} does not say its epsilon"

    return FileRule("epsilon", "a LayerNormalization says its epsilon", source, broken)


def constants_off_middle(source: str) -> FileRule:
    """Stored constants have no zero point in the middle."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("DequantizeLinear"):
            codes = file.codes(node.output[0])
            if codes is not None and codes.stored and codes.kind == "int8" and not codes.zero_point.any():
                yield f"all zero points of {codes.name} are 0"

    return FileRule("constants", "stored int8 codes have a zero point other than 0 somewhere", source, broken)


def _weights(file: FileView) -> Iterator[tuple[onnx.NodeProto, Codes | None]]:
    return ((node, file.codes(node.input[1])) for node in file.of_type(*sorted(WEIGHTED)))


def _near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.all(np.abs(found - wanted) <= _ROUNDING * np.abs(wanted)))
