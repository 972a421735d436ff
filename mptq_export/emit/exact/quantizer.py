"""Float values -> uint8 codes: one QuantizeLinear, or with OPT-m one for every region of scale ratio 2^m.

A region's levels are `zero_point + (k << m)` for `first <= k <= last`. Each region is quantized by itself:

    QuantizeLinear(x, step * 2^m, z)        k + z, where z = max(-first, 0): uint8 ends at 0
    Clip                                    to the region's own k
    DequantizeLinear(2^m, first + z)        (k - first) << m, a whole number of codes

and the regions are added up, two at a time: `QuantizeLinear(Add(a, b), 1, 0)`. Nothing is rounded there, because both
are whole and their sum is a code. onnxruntime runs DequantizeLinear, DequantizeLinear, Add, QuantizeLinear as one
QLinearAdd, whose float32 products with powers of two are exact too.
"""

from dataclasses import dataclass

import numpy as np

from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.proof import Proof, Quantity
from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.support.errors import MptqError

#: Least and greatest value, in steps of the quantizer.
Span = tuple[float, float]

EVERYTHING: Span = (-np.inf, np.inf)

#: A value less than this beyond the last step is rounded to it, by any runtime that keeps the margin.
INSIDE = 0.5 - MARGIN


@dataclass(frozen=True)
class _Uniform:
    """Levels at equal distances: whole steps from `low` to `high`.

    Attributes:
        step: number that one of them stands for.
        low: the lowest level, in steps.
        high: the highest level, in steps.
        zero: the code of level 0.
        span: least and greatest value that occurs, in steps.
    """

    step: float
    low: int
    high: int
    zero: int
    span: Span

    def emit(self, onnx: OnnxBuilder, x: str, name: str) -> str:
        """`clip(rint(x / step), low, high) + zero`, without a Clip at an end that nothing leaves."""
        low = self.low + self.zero if self.span[0] <= self.low - INSIDE else 0
        high = self.high + self.zero if self.span[1] >= self.high + INSIDE else 255
        return clip(onnx, onnx.quantize(x, self.step, self.zero, name), low, high, name)


def quantize(
    onnx: OnnxBuilder, x: str, step: float, quant: ActivationQuant, name: str, *, span: Span = EVERYTHING
) -> str:
    """The codes of a float tensor.

    Args:
        onnx: the graph under construction.
        x: float32 tensor.
        step: number in `x` that one code of the fine grid stands for.
        quant: zero point, range and regions; its scale is in `step` already.
        name: name of the codes.
        span: least and greatest `x / step` that occurs, where that is known.

    Returns:
        A uint8 tensor: the nearest level of every element, as in `mptq_export.quantize.simulation.fake_quantize.codes`.
    """
    if quant.regions:
        return _quantize_opt_m(onnx, x, step, quant, name, span=span)
    (run,) = quant.runs()
    return _Uniform(step, run.first, run.last, quant.zero_point, span).emit(onnx, x, name)


def _quantize_opt_m(onnx: OnnxBuilder, x: str, step: float, quant: ActivationQuant, name: str, *, span: Span) -> str:
    """The codes of OPT-m: those of every region, added up; arguments as for `quantize`."""
    total, total_unit, total_zero = "", 1, 0
    for i, run in enumerate(quant.runs()):
        prefix, reached = f"{name}.region{i}", (span[0] / run.unit, span[1] / run.unit)
        starts_inside = reached[0] > run.first - INSIDE
        # uint8 cuts below the code of the first k, or above that of the last where nothing lies below.
        zero = 255 - run.last if starts_inside and run.first <= 0 <= run.last else max(-run.first, 0)
        k = _Uniform(step * run.unit, run.first, run.last, zero, reached).emit(onnx, x, prefix)
        if total:
            both = [
                onnx.dequantize(total, total_unit, total_zero, f"{prefix}.below"),
                onnx.dequantize(k, run.unit, run.first + zero, f"{prefix}.steps"),
            ]
            total = onnx.quantize(onnx.one("Add", both, f"{prefix}.sum"), 1.0, quant.low, f"{prefix}.codes")
            total_unit, total_zero = 1, quant.low
        else:
            total, total_unit, total_zero = k, run.unit, run.first + zero
    if len(quant.regions) > 1:
        return total
    steps = onnx.dequantize(total, total_unit, total_zero, f"{name}.steps")
    return onnx.quantize(steps, 1.0, quant.low, f"{name}.codes")


def clip(onnx: OnnxBuilder, codes: str, low: int, high: int, name: str) -> str:
    """Restrict uint8 codes to [low, high]; uint8 itself ends at 0 and 255."""
    if (low, high) == (0, 255):
        return codes
    limits = [onnx.scalar(low, np.uint8), onnx.scalar(high, np.uint8)]
    return onnx.one("Clip", [codes, *limits], f"{name}.clip")


def prove_quantizer(proof: Proof, layer: str, key: str, quant: ActivationQuant) -> None:
    """Claim that all codes are uint8 and that the regions tile the range.

    Raises:
        MptqError: they do not; the recipe was not made by this program or was edited.
    """
    advice = "the recipe's regions are too wide for 8 bits: export again without --recipe"
    proof.claim(layer, Quantity.ACTIVATION_CODE, quant.high, 255.0, advice=advice, of=key)
    valid = 0 <= quant.low <= quant.high and 0 <= quant.zero_point <= 255
    if quant.regions:
        lasts = [region.last for region in quant.regions]
        for start, last, run in zip([quant.low, *lasts], lasts, quant.runs(), strict=False):
            whole = (run.first * run.unit, run.last * run.unit) == (start - quant.zero_point, last - quant.zero_point)
            valid = valid and whole and last > start and run.last + max(-run.first, 0) <= 255
        valid = valid and lasts[-1] == quant.high
    if not (valid and 0 < quant.scale < np.inf):
        raise MptqError(f"{layer}: the quantizer of {key} has no valid levels; export again without --recipe")
