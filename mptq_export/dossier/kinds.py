"""How operators round, and what happens at the ends of their types: one entry for each kind of operator.

The sentences say what docs/design.md derives, of the forms that exact files have.
"""

from dataclasses import dataclass

import onnx

from mptq_export.support.errors import MptqError
from mptq_export.verify.code_functions.functions import TRANSCENDENTAL


@dataclass(frozen=True)
class Kind:
    """See `contents.OperatorKind`."""

    rounding: str
    overflow: str


KINDS: dict[str, Kind] = {
    "constant": Kind(
        "Constants alone, computed once when the file is loaded: bits are moved, masked and shifted, codes are looked "
        "up, and what becomes a float is rounded once.",
        "The unpacked weight codes are held against the recipe's by this document (identity).",
    ),
    "movement": Kind(
        "None: values are moved, none is computed.",
        "None.",
    ),
    "product": Kind(
        "The sum is of whole numbers in int32 and the same in any order. It becomes a float32 (one rounding to "
        "nearest, ties to even), times the product of the scales (one rounding). Where the next operator makes codes "
        "of it, the quotient by its scale is rounded to the nearest code, ties to even.",
        "The bound `int32 accumulator` of its layer: no sum reaches 2^31, with or without its zero point. The bound "
        "`int16 pair sum`: no two products leave int16 where a CPU adds pairs saturating.",
    ),
    "codes": Kind(
        "x / scale is rounded to the nearest whole number, ties to even, and the zero point is added. Regions are "
        "added up as whole numbers.",
        "Saturates at the first and the last code by definition: no value is too large for it.",
    ),
    "values": Kind(
        "(code - zero point) * scale: an exact difference, and one rounding of the product to float32. In front of a "
        "product it is a part of that, and the code itself is read.",
        "None: codes are few, and the range is that of all of them.",
    ),
    "element": Kind(
        "Each element by itself, one rounding to nearest, ties to even, of the exact result (IEEE 754).",
        "The range says how large it can be. Where it has no end, only an infinite or huge input gets there, and "
        "the next operator that makes codes saturates.",
    ),
    "whole": Kind(
        "To the nearest whole number, ties to even; the result is exact.",
        "None: the range does not grow beyond the next whole number.",
    ),
    "sum": Kind(
        "None where the terms are whole numbers whose sum stays below 2^24 (float32) or 2^53 (float64): then every "
        "order gives the same, exactly.",
        "The bound on the sum of its layer (`float64 sum of squares`, `float64 sum of tokens`, `float32 sum of ...`).",
    ),
    "choice": Kind(
        "None: one of the values is chosen.",
        "None.",
    ),
    "conversion": Kind(
        "To a wider type exactly. From float64 to float32 once, to nearest, ties to even.",
        "The range fits the type that it is converted to.",
    ),
    "function": Kind(
        "No runtime rounds it correctly, so its float result is no part of the criterion: every code that is made of "
        "it is certain, because each possible result lies further from a rounding boundary than a runtime may be "
        "wrong (the assumption).",
        "The bounds `margin in steps` and `assumed error ... over the distance to a boundary` of its layer.",
    ),
}

_KIND_OF: dict[str, str] = {
    **dict.fromkeys(
        (
            *("Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze"),
            *("Tile", "Transpose", "Unsqueeze"),
        ),
        "movement",
    ),
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), "product"),
    **dict.fromkeys(("Abs", "Add", "Div", "Mul", "Neg", "Sqrt", "Sub"), "element"),
    **dict.fromkeys(("Clip", "Max", "Min", "ReduceMax", "ReduceMin", "Where"), "choice"),
    **dict.fromkeys(TRANSCENDENTAL, "function"),
    "Cast": "conversion",
    "DequantizeLinear": "values",
    "QuantizeLinear": "codes",
    "ReduceSum": "sum",
    "Round": "whole",
}


def kind_of(node: onnx.NodeProto, constant: bool) -> str:
    """The key in `KINDS` of a node.

    Args:
        node: of an exact file.
        constant: whether it reads constants alone.

    Raises:
        MptqError: nothing is written of its op.
    """
    if constant:
        return "constant"
    if node.op_type not in _KIND_OF or node.domain not in ("", "ai.onnx"):
        raise MptqError(f"no dossier: nothing is written of how {node.op_type} rounds ({node.name}); please report it")
    return _KIND_OF[node.op_type]
