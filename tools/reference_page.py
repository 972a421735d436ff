"""The page docs/reference.md: what each kernel and op of `kernels_ref` computes, bit for bit.

python -m tools.reference_page      writes the page

The rows of the kernels on codes stand here; `tests/docs/test_reference.py` runs their formulas. Those of the other ops
are taken from the docstrings beside the code and from the table of claims.
"""

import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from kernels_ref.ops import claims
from kernels_ref.ops.table import CLAIMS, CONTRIB_OPS, OPS
from kernels_ref.opsets import OLDEST_OPSET
from tools.figures.models import REPO
from tools.figures.show import markdown_table

PAGE = REPO / "docs" / "reference.md"


@dataclass(frozen=True)
class KernelRow:
    """One kernel on codes.

    Attributes:
        name: ONNX's name, or that of onnxruntime's domain `com.microsoft`.
        made_of: what of a QDQ file becomes it; empty where it stands in the file itself.
        formula: in the words of `_WORDS`; Python that a test runs.
        types: of operands and result.
        rounding: where, and what becomes of what does not fit.
        source: who says so.
    """

    name: str
    made_of: str
    formula: str
    types: str
    rounding: str
    source: str


_CODES = "saturate(rint(f32(acc) * ((scale_a * scale_b) / scale_y)) + zero_y)"
_EXACT = "acc exact, refused beyond int32; one conversion, one product, one rint"
_STEPS = "after every step, to float32; one rint"
_PRODUCT = "a, y: uint8 or int8; b: uint8 or int8, a scale and zero point a column"
_ONE_SCALE = "codes of one 8-bit type, one scale each"
_SPECIFIED = "ONNX; order of the scales measured"
_MEASURED = "`com.microsoft`; measured"

KERNELS: tuple[KernelRow, ...] = (
    KernelRow(
        "QuantizeLinear",
        "",
        "saturate(rint(x / scale_y) + zero_y)",
        "x: float32; y: 2 to 16 bits, int or uint",
        "quotient to float32; rint",
        "ONNX",
    ),
    KernelRow(
        "DequantizeLinear",
        "",
        "f32(x - zero_x) * scale_x",
        "x: 2 to 16 bits, or int32; result: float32",
        "one product, to float32",
        "ONNX",
    ),
    KernelRow(
        "DynamicQuantizeLinear",
        "",
        "saturate(rint(x / span) + f32(rint(clip(-low / span, 0, 255))))",
        "x: float32; y: uint8; low and high: least and greatest of x and 0; span: (high - low) / 255",
        _STEPS,
        "ONNX",
    ),
    KernelRow("QGemm", "DQ, DQ[, DQ of the bias] -> Gemm -> Q", _CODES, f"{_PRODUCT}; bias: int32", _EXACT, _SPECIFIED),
    KernelRow(
        "QGemm (float)",
        "DQ, DQ[, DQ of the bias] -> Gemm",
        "f32(acc) * (scale_a * scale_b)",
        "as QGemm; y: float32",
        "acc exact; one conversion, one product",
        _SPECIFIED,
    ),
    KernelRow("QLinearMatMul", "DQ, DQ -> MatMul -> Q", _CODES, _PRODUCT, _EXACT, _SPECIFIED),
    KernelRow(
        "MatMulIntegerToFloat",
        "DQ, DQ -> MatMul",
        "f32(acc) * (scale_a * scale_b)",
        "as QLinearMatMul; y: float32",
        "acc exact; one conversion, one product",
        _SPECIFIED,
    ),
    KernelRow("MatMulInteger", "", "acc", "a, b: uint8 or int8; y: int32", "none: exact, refused beyond int32", "ONNX"),
    KernelRow(
        "QLinearConv",
        "DQ, DQ[, DQ of the bias] -> Conv -> Q",
        _CODES,
        "x (a), y: uint8 or int8; w (b): a scale and zero point an output channel; bias: int32",
        _EXACT,
        _SPECIFIED,
    ),
    KernelRow("ConvInteger", "", "acc", "x, w: uint8 or int8; y: int32", "none: exact, refused beyond int32", "ONNX"),
    KernelRow(
        "QLinearAdd",
        "DQ, DQ -> Add -> Q",
        "saturate(rint(fma(a, scale_a / scale_y, fma(b, scale_b / scale_y, "
        "zero_y - fma(scale_a / scale_y, zero_a, scale_b / scale_y * zero_b)))))",
        f"{_ONE_SCALE}; a and b change places where a is repeated along the last axis",
        "each fma once; one rint",
        _MEASURED,
    ),
    KernelRow(
        "QLinearMul",
        "DQ, DQ -> Mul -> Q",
        "saturate(rint((a - zero_a) * (b - zero_b) * (scale_a * scale_b / scale_y) + zero_y))",
        _ONE_SCALE,
        _STEPS,
        _MEASURED,
    ),
    KernelRow(
        "QLinearConcat",
        "DQ ... -> Concat -> Q",
        "saturate(rint(scale_x * (x - zero_x) / scale_y) + zero_y)",
        f"{_ONE_SCALE}; of each tensor; on the result's scale and zero point its codes as they are",
        _STEPS,
        _MEASURED,
    ),
    KernelRow(
        "QLinearSigmoid",
        "DQ -> Sigmoid -> Q",
        "saturate(rint(sigmoid(scale_x * (x - zero_x)) / scale_y) + zero_y)",
        _ONE_SCALE,
        "sigmoid in float64, once; one rint; equal bits only where clear of a boundary",
        _MEASURED,
    ),
    KernelRow(
        "QLinearLeakyRelu",
        "DQ -> LeakyRelu -> Q",
        "saturate(rint(leaky(scale_x * (x - zero_x)) / scale_y) + zero_y)",
        f"{_ONE_SCALE}; leaky(r) = r where r >= 0, else f32(alpha) * r",
        _STEPS,
        _MEASURED,
    ),
    KernelRow(
        "QLinearSoftmax",
        "DQ -> Softmax -> Q",
        "saturate(rint(e * floor(f32(1) / scale_y) / total(e)) + zero_y)",
        f"{_ONE_SCALE}; e = f32(exp((x - max(x) + shift) * scale_x)), a table of 256; shift: as far as the sum allows",
        "table in float64, once; sum in float32, first to last; one rint",
        _MEASURED,
    ),
    KernelRow(
        "QLinearAveragePool",
        "DQ -> AveragePool -> Q",
        "saturate(rint(total(scale_x * (x - zero_x)) / n / scale_y + zero_y))",
        f"{_ONE_SCALE}; x: a window, n: its elements",
        "sum in float32, first to last; " + _STEPS,
        _MEASURED,
    ),
    KernelRow(
        "QLinearGlobalAveragePool",
        "DQ -> GlobalAveragePool -> Q",
        "saturate(rint(f32(acc) * (scale_x / (scale_y * n))) + zero_y)",
        f"{_ONE_SCALE}; acc: the sum of x - zero_x over an image of n elements, exact",
        _STEPS,
        _MEASURED,
    ),
)

_INTRODUCTION = """\
# The reference

`kernels_ref` is the second reading of every file: it opens the `.onnx` alone, and computes with NumPy what
onnxruntime's kernels compute, bit for bit. It was written from the ONNX specification, and where that leaves bits open,
from what onnxruntime 1.32 was measured to give on x86-64. It imports nothing of the exporter, and of the exporter only
the verification imports it.

It can be had alone, without the exporter, in an environment of NumPy, onnx and protobuf (in a clone, until a package
index has it):

    pip install ./distributions/kernels_ref

and used in three lines:

    from kernels_ref import Interpreter
    reference = Interpreter("model.onnx")
    outputs = reference.run({"input": x}, trace=True)     # every tensor by its name

It is a distribution of its own, `mptq-kernels-ref`, because a second reading is worth most to those who distrust the
first: they should not have to install what they check. `mptq-device` ([dependencies](dependencies.md)) holds the same
modules beside the commands that compare with onnxruntime.

`python -m tools.reference_page` writes this page. The rows of the first table are checked by
`tests/docs/test_reference.py`: it runs every formula, as it stands here, against `kernels_ref` on random codes, and
misses a kernel that has no row. The second is taken from the code.
"""

_WORDS = """\
## Kernels on codes

Words of the formulas: `f32` rounds to float32 (halves to even, as everywhere below); `rint` rounds to whole numbers,
halves to even; `saturate` limits to the result's type and converts; `fma(x, y, z)` is `x * y + z` rounded once;
`total` sums in float32 from the first element to the last. All other operations are float32, from left to right, each
rounded once. `acc` is the exact sum over K of `(a - zero_a) * (b - zero_b)`, plus the bias where there is one: at most
31 bits and a sign, or the file is refused. A bias of float32 is first `rint(bias / (scale_a * scale_b))`, int32.

DQ is DequantizeLinear, Q is QuantizeLinear: what stands between them in a file is one kernel in the runtime. What is
*measured* is compared with onnxruntime by `tests/kernels_ref/test_code_ops.py`, `test_forms.py`, `test_convolution.py`
and `test_requantize.py`; when a kernel's bits are claimed for every CPU says the last table.
"""

_OPS = """\
## All ops

Every op that a file may hold. *Equal bits* says when the reference claims that every runtime that meets the
specification gives the same bits; `mptq-verify` calls a file exact only if all of it is claimed, or certified. An op
that is not here is refused by its name. Opsets from {oldest} on are read (`kernels_ref/opsets.py`); ONNX's own node
tests are run by `tests/kernels_ref/test_onnx_node_tests.py`.
"""


def page() -> str:
    """The whole page."""
    kernels = [
        (row.name, row.made_of or "in the file", f"`{row.formula}`", row.types, row.rounding, row.source)
        for row in KERNELS
    ]
    ops = [(_named(name), _doc(OPS[name]), _equal_bits(CLAIMS[name]), f"`{_file(name)}`") for name in OPS]
    return "\n".join(
        [
            _INTRODUCTION,
            _WORDS,
            markdown_table(("kernel", "made of", "formula", "types", "rounding", "source"), kernels) + "\n",
            _OPS.format(oldest=OLDEST_OPSET),
            markdown_table(("op", "computes", "equal bits", "file"), ops) + "\n",
        ]
    )


def _named(name: str) -> str:
    return f"{name} (`com.microsoft` too)" if name in CONTRIB_OPS and not name.startswith("QL") else name


def _equal_bits(claim: claims.Claim) -> str:
    if claim is claims.always:
        return "always"
    if claim in (claims.function, claims.order):
        return f"never: {claim((), {}, ())}"
    return _doc(claim)


def _doc(function: object) -> str:
    """The first paragraph of a docstring, as a cell."""
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return re.sub(r"\s+", " ", paragraph).replace("|", "\\|")


def _file(name: str) -> str:
    found = Path(inspect.getsourcefile(inspect.unwrap(OPS[name])) or "")
    return found.relative_to(REPO).as_posix()


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
