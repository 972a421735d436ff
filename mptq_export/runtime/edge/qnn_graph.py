"""What QNN itself computes in: the graph that its provider built, written as JSON (`dump_json_qnn_graph`).

That a node runs on the accelerator does not say that it runs in integers. The provider recognises an op between its
`DequantizeLinear` and `QuantizeLinear` only where types fit (one type in and out, for instance); else it keeps the op
in float, and a file that is whole computes in floats there. The types of the tensors in this graph tell.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mptq_export.runtime.edge.session import PlacedOps
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import load_json

#: `Qnn_DataType_t` holds the kind in its second byte and the bits, as decimal digits, in its first.
_KINDS = {0: "int", 1: "uint", 2: "f", 3: "s", 4: "u", 5: "bool"}
_INTEGER = {"int", "uint", "s", "u", "bool"}

#: From floats to codes and back: neither computes anything else.
_BORDER = {"Quantize", "Dequantize"}


def options_to_dump(folder: Path) -> dict[str, str]:
    """Provider options with which a session writes its graphs there."""
    return {"dump_json_qnn_graph": "1", "json_qnn_graph_dir": str(folder)}


def placed_in(folder: Path) -> tuple[PlacedOps, ...]:
    """All ops of the graphs that a session wrote, by their types.

    Raises:
        MptqError: a graph cannot be read.
    """
    found = Counter(op for graph in _graphs(folder) for op in _ops(graph))
    return tuple(
        PlacedOps(op, "HTP", numbers, count, accelerated=True, integer=integer)
        for (op, numbers, integer), count in sorted(found.items(), key=str)
    )


def _graphs(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        try:
            content = load_json(path)
        except (OSError, ValueError) as error:
            raise MptqError(
                f"the graph that QNN wrote cannot be read ({error}); free space in the temporary folder"
            ) from error
        if "graph" in content:  # beside each graph lies a list of its inputs
            yield content["graph"]


def _ops(graph: dict[str, Any]) -> Iterator[tuple[str, str, bool | None]]:
    """(op, types, whether it computes in integers) of every node."""
    types = {name: _type(tensor["data_type"]) for name, tensor in graph["tensors"].items()}
    for node in graph["nodes"].values():
        read, made = ([types[name] for name in node[key] if name in types] for key in ("input_names", "output_names"))
        numbers = f"{' x '.join(read)} -> {', '.join(dict.fromkeys(made))}"
        integer = all(kind.rstrip("0123456789") in _INTEGER for kind in (*read, *made))
        yield node["type"], numbers, None if node["type"] in _BORDER else integer


def _type(code: int) -> str:
    """`u8`, `s32`, `f32`; the number itself where the kind is not known."""
    kind = _KINDS.get(code >> 8)
    return f"type {code:#x}" if kind is None else f"{kind}{code & 0xFF:x}"
