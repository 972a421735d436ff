"""The input that a file is timed on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mptq_export.runtime.graph_input import GraphInput, graph_input
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.inputs.sets import random_inputs
from mptq_export.verify.onnx_file import load_onnx


def read_spec(path: Path) -> GraphInput:
    """The one input of a file.

    Raises:
        MptqError: the file cannot be read, or its input is not one of images: one float32 or uint8 tensor in which at
            most the batch is free.
    """
    load_onnx(path)  # onnxruntime's own message about a damaged file says less
    session = open_session(path)
    try:
        spec = graph_input(session)
    except MptqError as error:
        raise MptqError(f"{path}: {error}") from error
    if spec.dtype not in {"float32", "uint8"}:
        raise MptqError(f"{path}: input {spec.name} is {spec.dtype}; name a file with a float32 or uint8 input")
    if any(not isinstance(size, int) for size in spec.shape[1:]):
        raise MptqError(
            f"{path}: input {spec.name} has the free shape {list(spec.shape)}; name a file in which only the batch is "
            "free"
        )
    return spec


def common_batch(specs: Sequence[tuple[Path, GraphInput]], wanted: int | None) -> int:
    """The batch size that all files can run at.

    Args:
        specs: every file and its input.
        wanted: what was asked for; None takes what the files fix, else 1.

    Raises:
        MptqError: a file fixes another batch.
    """
    size = wanted or next((own for _, spec in specs if (own := spec.batch(0))), 1)
    for path, spec in specs:
        if spec.batch(size) != size:
            raise MptqError(
                f"{path} fixes its batch at {spec.batch(size)}, so it cannot run at {size}; "
                "compare files of one batch size, or with a free one"
            )
    return size


def feed_of(spec: GraphInput, batch: int) -> dict[str, NDArray[Any]]:
    """A seeded random batch for a file."""
    return {spec.name: next(random_inputs(spec, batch, batch))}
