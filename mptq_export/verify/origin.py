"""Where a file comes from: is it as it was written, and does it say what its recipe says?

onnxruntime and `kernels_ref` read the same file, so that a changed weight is the same to both. What finds it is the
list of parts that the recipe keeps, and for weights the recipe's own codes against those that the file unpacks to.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kernels_ref import Interpreter, InterpreterError
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, RECIPE_KEY, contents_digest, contents_of
from mptq_export.recipe.schema import Recipe, WeightQuant
from mptq_export.recipe.store import read_recipe
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import Json
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.onnx_file import metadata_of


@dataclass(frozen=True)
class Origin:
    """What was found out about a file's origin.

    A hash that the file itself carries is declared by whoever wrote the file, or changed it: it finds accidents. Only a
    recipe proves an origin.

    Attributes:
        recipe: path of the recipe that it was held against; None where only its own hash was checked.
        recipe_sha256: of the recipe that the file names; empty if it names none.
        parts: tensors, nodes and metadata that were compared by their hash.
        weights: layers whose codes were unpacked from the file and compared with the recipe's.
        problems: what differs, a sentence each, the first tensor that differs first.
    """

    recipe: str | None
    recipe_sha256: str
    parts: int
    weights: int
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "proved_by": "recipe" if self.recipe else None,
            "recipe": self.recipe,
            "recipe_sha256": self.recipe_sha256,
            "parts": self.parts,
            "weights": self.weights,
            "problems": list(self.problems),
        }


def check_contents(model: onnx.ModelProto) -> Origin | None:
    """Hold a file against the hash of its contents that it carries; None for a file without one."""
    metadata = metadata_of(model)
    if CONTENTS_KEY not in metadata:
        return None
    contents = contents_of(model)
    changed = contents_digest(contents) != metadata[CONTENTS_KEY]
    problems = ("it was changed after it was written; --recipe tells where",) if changed else ()
    return Origin(None, metadata.get(RECIPE_KEY, ""), len(contents), 0, problems)


def check_recipe(model: onnx.ModelProto, path: Path) -> Origin:
    """Prove that a file came from a recipe, or say what is not the recipe's.

    Args:
        model: the file, with its tensors in memory.
        path: the recipe's JSON file; its .safetensors lies beside it.

    Raises:
        MptqError: the recipe cannot be read, or is older than its list of parts.
    """
    recipe = read_recipe(path)
    if not recipe.contents:
        raise MptqError(f"{path} does not list the parts of its file: it is of an older version; export again")
    metadata, contents = metadata_of(model), contents_of(model)
    try:
        checked, wrong = _compare_codes(model, recipe)
    except InterpreterError as error:
        checked, wrong = 0, [f"its weights cannot be unpacked: {error}"]
    problems = [*_changed_parts(recipe.contents, contents), *wrong]
    named, found = metadata.get(RECIPE_KEY, ""), hashlib.sha256(path.read_bytes()).hexdigest()
    if named != found:
        problems.append(f"its metadata names the recipe {named or 'nothing'}, this one is {found}")
    if contents_digest(contents) != metadata.get(CONTENTS_KEY):
        problems.append(f"its metadata's {CONTENTS_KEY} is not the hash of its contents")
    return Origin(str(path), named, len(contents), checked, tuple(problems))


def _changed_parts(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """Tensors before nodes before metadata, each in the file's order, as `contents_of` lists them."""
    for name, digest in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif found[name] != digest:
            yield f"{name} differs" if name != "graph" else "the graph's inputs, outputs, types or opset differ"
    yield from (f"{name} is not in the recipe" for name in found if name not in expected)


def _compare_codes(model: onnx.ModelProto, recipe: Recipe) -> tuple[int, list[str]]:
    """Weight codes as `kernels_ref` unpacks them from the file's bits, against the recipe's."""
    unpacked = _unpack(model, {f"{layer}.weight" for layer in recipe.weights})
    wrong = [
        f"the weight codes of {layer} are not the recipe's"
        for layer, quant in recipe.weights.items()
        if (found := unpacked.get(f"{layer}.weight")) is not None and not _holds(found, quant)
    ]
    return len(unpacked), wrong


def _holds(found: NDArray[Any], quant: WeightQuant) -> bool:
    """Whether an unpacked weight is the recipe's: its codes [K, N], or those of a convolution, or what is portable.

    A convolution has [N, C, kh, kw] of the recipe's windows [N, kh * kw * C]. A portable file has the codes times their
    scales in float32, [K, N] of a Gemm or [N, ...] of a convolution, whose windows lie in an order of their own: the
    hash of the part holds that order.
    """
    if found.dtype.kind != "f" and found.ndim > 2:
        return np.array_equal(np.moveaxis(found, 1, -1).reshape(len(found), -1), quant.codes)
    if found.dtype.kind != "f":
        return np.array_equal(found, quant.codes.T)
    expected = quant.codes.astype(np.float32) * quant.scale[:, None]
    if found.ndim == 2:
        return np.array_equal(found.T, expected)
    rows = found.reshape(len(found), -1)
    return rows.shape == expected.shape and np.array_equal(np.sort(rows, axis=1), np.sort(expected, axis=1))


def _unpack(model: onnx.ModelProto, names: set[str]) -> dict[str, Any]:
    """The constants of these names that the file has, by running what makes them and nothing else."""
    graph = GraphReader(model)
    needed = names & {*graph.constants, *graph.producers}
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(needed))
    if not needed:
        return {}
    wanted = graph.behind(needed)
    part.graph.node.extend(node for node in graph.nodes if wanted.intersection(filter(None, node.output)))
    part.graph.initializer.extend(graph.constants[name] for name in sorted(wanted) if name in graph.constants)
    return Interpreter(part).run({})
