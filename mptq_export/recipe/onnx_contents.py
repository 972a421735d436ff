"""What is in an ONNX file, one SHA-256 for everything that has a name: a recipe keeps the list of its file.

The list goes into the recipe, the recipe's hash into the file: so each says which other one it belongs to, and a
change of either is found and named.
"""

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

import onnx

#: Metadata with the SHA-256 of the recipe; the recipe's list cannot hold it.
RECIPE_KEY = "mptq.recipe_sha256"
#: Metadata with the SHA-256 of the list: a file that was damaged or edited shows it without its recipe.
CONTENTS_KEY = "mptq.contents_sha256"


def contents_of(model: onnx.ModelProto) -> dict[str, str]:
    """SHA-256 of every part of a model.

    Args:
        model: with its tensors in memory.

    Returns:
        `tensor NAME`, `node OUTPUT` and `metadata KEY` in the file's order, then `graph`: inputs, outputs, types,
        opset and all else. `RECIPE_KEY` and `CONTENTS_KEY` are left out. A second part of the same name has `again`
        after it.
    """
    found: dict[str, str] = {}
    for name, digest in _parts(model):
        while name in found:
            name += " again"  # noqa: PLW2901 (a damaged file may hold a name twice)
        found[name] = digest
    return found


def contents_digest(contents: dict[str, str]) -> str:
    """One SHA-256 for a list of parts, in any order."""
    lines = sorted(f"{digest} {name}\n" for name, digest in contents.items())
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _parts(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    for tensor in model.graph.initializer:
        yield f"tensor {tensor.name}", _tensor_digest(tensor)
    for node in model.graph.node:
        name = next(iter(node.output), node.name)
        yield f"node {name}", hashlib.sha256(node.SerializeToString(deterministic=True)).hexdigest()
    for entry in model.metadata_props:
        if entry.key not in (RECIPE_KEY, CONTENTS_KEY):
            yield f"metadata {entry.key}", hashlib.sha256(entry.value.encode()).hexdigest()
    digest = hashlib.sha256()
    for part in (
        *_fields(model, {"graph", "metadata_props"}),
        *_fields(model.graph, {"node", "initializer"}),
    ):
        digest.update(part)
    yield "graph", digest.hexdigest()


def _tensor_digest(tensor: onnx.TensorProto) -> str:
    """Type, shape and bytes; not the name, which is the key."""
    digest = hashlib.sha256(f"{tensor.data_type} {list(tensor.dims)} ".encode())
    for part in _fields(tensor, {"name", "dims", "data_type", "raw_data"}):
        digest.update(part)
    digest.update(tensor.raw_data)
    return digest.hexdigest()


def _fields(message: Any, skip: Collection[str]) -> Iterator[bytes]:
    """The fields of a protobuf message that are set, each behind its name."""
    for field, value in message.ListFields():
        if field.name in skip:
            continue
        yield f" {field.name} ".encode()
        for item in [value] if isinstance(value, str | bytes) or not hasattr(value, "__len__") else value:
            if hasattr(item, "SerializeToString"):
                encoded = item.SerializeToString(deterministic=True)
                yield f"{len(encoded)} ".encode() + encoded
            else:
                yield f"{item!r} ".encode()
