"""Measure how far a runtime's Exp, Gelu, Sigmoid and the like are from the true functions, against what exports assume.

Each function is run as an export writes it, on dense float32 arguments and on the arguments of whole tables of 256
codes at many scales and zero points. A runtime computes the body of a vector and its end differently, so some
arguments are run three at a time too. Prints a table and exits with 1 where a deviation is more than a quarter of what
an export assumes (`ASSUMED`). For a runtime without Python, `--write` stores the
models and arguments, `functions.mjs` runs them in onnxruntime-web, and `--read` measures what it gave. Needs NumPy and
onnx; onnxruntime but for `--read`.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: What exports assume of a runtime: how much of a function's result and of its argument it may be wrong by, together.
#: `tests/crosscheck/test_functions.py` holds them to those of the package.
ASSUMED = {"exp": (2.0**-20, 0.0), "gelu": (2.0**-20, 2.0**-22)}
OTHERS = (2.0**-20, 2.0**-20)

#: Where results leave the normal numbers of float32, some runtimes give 0.
_TINY = 2.0**-120

#: How much of the assumption may be used up.
SPARE = 4

_OPSET = 21
_SHORT = 3
_SHORT_RUNS = 600
_ZERO_POINTS = (0, 17, 64, 128, 200, 255)
_SCALES = np.geomspace(2.0**-12, 2.0**3, 91)

Floats = NDArray[np.float64]


def _gelu(x: Floats) -> Floats:
    return np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


def _sigmoid(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def _gelu_tanh(x: Floats) -> Floats:
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "exp": np.exp,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x: x * _sigmoid(x),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "erf": lambda x: np.array([math.erf(v) for v in x.tolist()]),
}
"""The true functions of float64 arguments, by the names that exports give them."""


def model_of(name: str) -> bytes:
    """Serialise the nodes of one function, as an export writes them: float32 ``x`` [n] to float32 ``y`` [n]."""
    constants: dict[str, float] = {}
    if name in ("silu", "quick_gelu"):
        constants = {"slope": 1.702} if name == "quick_gelu" else {}
        steep: list[tuple[str, list[str], str, dict[str, Any]]] = (
            [("Mul", ["x", "slope"], "steep", {})] if name == "quick_gelu" else []
        )
        nodes = [*steep, ("Sigmoid", ["steep" if steep else "x"], "share", {}), ("Mul", ["x", "share"], "y", {})]
    elif name == "hardswish":
        constants = {"three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6}
        nodes = [
            ("Add", ["x", "three"], "shifted", {}),
            ("Clip", ["shifted", "zero", "six"], "cut", {}),
            ("Mul", ["cut", "sixth"], "share", {}),
            ("Mul", ["x", "share"], "y", {}),
        ]
    elif name in ("gelu", "gelu_tanh"):
        nodes = [("Gelu", ["x"], "y", {"approximate": "tanh" if name == "gelu_tanh" else "none"})]
    else:
        nodes = [(name.capitalize(), ["x"], "y", {})]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.array(value, np.float32), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised


def arguments(name: str) -> NDArray[np.float32]:
    """All arguments of a function, float32 [n]: dense ones, then those of tables of codes; none above 0 for Exp."""
    small = np.geomspace(2.0**-24, 2.0**8, 40_000)
    wide = np.linspace(-24, 24, 60_001)
    dense = np.concatenate([small, -small, wide]).astype(np.float32)
    codes = np.arange(256)
    tables = [(codes - zero).astype(np.float32) * np.float32(s) for s in _SCALES for zero in _ZERO_POINTS]
    found = np.concatenate([dense, *tables])
    return -np.abs(found) if name == "exp" else found


def runs(x: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """All arguments at once, then some of them a few at a time."""
    yield x
    for part in np.array_split(np.arange(len(x)), _SHORT_RUNS):
        start = int(part[0])
        yield x[start : start + _SHORT]


def deviation(name: str, x: NDArray[np.float32], got: NDArray[np.float32]) -> dict[str, Any]:
    """How far results are from the true ones.

    Args:
        name: the function.
        x: arguments, float32 [n].
        got: results, float32 [n].

    Returns:
        The largest part of the assumption that is used up and where, the largest deviation itself, that of results of
        at least 1/16 in parts of the result, and that of smaller ones in parts of the argument.
    """
    wide = x.astype(np.float64)
    true = FUNCTIONS[name](wide)
    error = np.abs(got.astype(np.float64) - true)
    of_result, of_argument = ASSUMED.get(name, OTHERS)
    share = error / (of_result * np.abs(true) + of_argument * np.abs(wide) + _TINY)
    share[~np.isfinite(got)] = np.inf
    worst = int(share.argmax())
    large = np.abs(true) >= 1 / 16
    ratios = error / np.where(large, np.abs(true), np.maximum(np.abs(wide), _TINY))
    return {
        "function": name,
        "values": len(x),
        "share": float(share[worst]),
        "at": float(x[worst]),
        "error": float(error.max()),
        "of_result": float(ratios[large].max(initial=0.0)),
        "of_argument": float(ratios[~large].max(initial=0.0)),
    }


def here(name: str, threads: int) -> NDArray[np.float32]:
    """The results of the installed onnxruntime for all runs, one after the other."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model_of(name), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": x})[0] for x in runs(arguments(name))])


def write(folder: Path) -> None:
    """Store models, arguments and the lengths of the runs for `functions.mjs`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FUNCTIONS:
        (folder / f"{name}.onnx").write_bytes(model_of(name))
        parts = list(runs(arguments(name)))
        np.concatenate(parts).tofile(folder / f"{name}.x.bin")
        (folder / f"{name}.json").write_text(json.dumps([len(part) for part in parts]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the results here")
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--write", type=Path, help="store models and arguments in this folder, and run nothing")
    folder.add_argument("--read", type=Path, help="measure the results that functions.mjs stored in this folder")
    args = parser.parse_args()
    if args.write:
        write(args.write)
        return
    if args.read:
        about = json.loads((args.read / "runtime.json").read_text())
    else:
        import onnxruntime as ort

        from tools.crosscheck.cpu import cpu_features

        about = {"onnxruntime": ort.__version__, "cpu": cpu_features(), "threads": args.threads}
    print(json.dumps(about))
    print(f"{'function':10} {'values':>8} {'share':>7} {'at':>11} {'error':>9} {'of result':>10} {'of argument':>11}")
    rows = []
    for name in FUNCTIONS:
        x = np.concatenate(list(runs(arguments(name))))
        got = np.fromfile(args.read / f"{name}.y.bin", np.float32) if args.read else here(name, args.threads)
        row = deviation(name, x, got)
        rows.append(row)
        print(
            f"{name:10} {row['values']:8} {row['share']:7.4f} {row['at']:11.4g} {row['error']:9.2e} "
            f"{row['of_result']:10.2e} {row['of_argument']:11.2e}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({**about, "functions": rows}, indent=2) + "\n")
    failed = [row["function"] for row in rows if row["share"] * SPARE > 1]
    print(f"{len(failed)} of {len(rows)} functions use more than 1/{SPARE} of the assumption")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
