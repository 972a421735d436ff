"""Learned blocks on disk, a file each as they are done: an interrupted reconstruction reads them and goes on.

Gradient descent is deterministic on one machine, and a block depends on those before it alone, so that what is read
and what is learned afterwards are the bytes of one run.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mptq_export.capture.graph import Graph
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_atomic
from mptq_export.support.typed_json import from_json


def identity_of(graph: Graph, recipe: Recipe, images: torch.Tensor, learning: object) -> str:
    """What a journal is of: SHA-256 of the float weights, the recipe, the images and how it is learned."""
    found = hashlib.sha256(f"{learning} {torch.__version__} {images.device.type} {list(images.shape)}".encode())
    tensors = [value for node in graph for value in node.params.values()]
    for value in (*tensors, images):
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    for name, array in _tensors(Recipe({}, {}, {}, {}), recipe):
        found.update(name.encode() + array.tobytes())
    found.update(json.dumps({key: asdict(quant) for key, quant in recipe.activations.items()}).encode())
    return found.hexdigest()


@dataclass(frozen=True)
class Journal:
    """The files of one reconstruction.

    Attributes:
        folder: where they are.
        identity: of the reconstruction.
    """

    folder: Path
    identity: str

    @staticmethod
    def open(folder: Path, identity: str, *, resume: bool) -> "Journal":
        """Start a journal, or go on with one.

        Raises:
            MptqError: it is of another reconstruction, or cannot be written.
        """
        journal = Journal(folder, identity)
        if not resume:
            remove_journal(folder)
            return journal
        first = next(iter(sorted(folder.glob("*.safetensors"))), None)
        if first is not None and journal._metadata(first)["identity"] != identity:
            raise MptqError(
                f"{folder} is the journal of another reconstruction (model, images or options differ); start again "
                "without --resume"
            )
        return journal

    def read(self, number: int, recipe: Recipe) -> Recipe | None:
        """The recipe with what was learned of a block; None where that is not known.

        Args:
            number: of the block.
            recipe: with what was learned of the blocks before.

        Raises:
            MptqError: the file is damaged.
        """
        path = self._path(number)
        if not path.exists():
            return None
        try:
            told = self._metadata(path)
            with safe_open(path, "numpy") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            weights, sq_b = dict(recipe.weights), dict(recipe.sq_b)
            for name, reason in json.loads(told["weights"]).items():
                own = {part: tensors[f"{name}.{part}"] for part in ("codes", "scale", "bias")}
                weights[name] = replace(weights[name], reason=reason, **own)
            for name, reason in json.loads(told["sq_b"]).items():
                shift, scale = tensors[f"{name}.sq_b.shift"], tensors[f"{name}.sq_b.scale"]
                sq_b[name] = replace(sq_b[name], shift=shift, scale=scale, reason=reason)
            read = {key: from_json(ActivationQuant, each) for key, each in json.loads(told["activations"]).items()}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise MptqError(f"{path} is damaged; remove it and go on with --resume") from error
        return replace(recipe, weights=weights, sq_b=sq_b, activations=recipe.activations | read)

    def write(self, number: int, before: Recipe, after: Recipe) -> None:
        """Keep what a block changed.

        Raises:
            MptqError: it cannot be written, as on a full disk.
        """
        tensors = {name: np.ascontiguousarray(array) for name, array in _tensors(before, after)}
        told = {
            "identity": self.identity,
            "weights": json.dumps({n: q.reason for n, q in after.weights.items() if before.weights[n] is not q}),
            "sq_b": json.dumps({n: q.reason for n, q in after.sq_b.items() if before.sq_b[n] is not q}),
            "activations": json.dumps(
                {key: asdict(quant) for key, quant in after.activations.items() if before.activations[key] != quant}
            ),
        }
        tensors = tensors or {"nothing": np.zeros(1, np.int8)}
        write_atomic(self._path(number), lambda path: save_file(tensors, path, metadata=told))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04}.safetensors"

    @staticmethod
    def _metadata(path: Path) -> dict[str, str]:
        try:
            with safe_open(path, "numpy") as stored:
                return dict(stored.metadata())
        except (OSError, SafetensorError, TypeError) as error:
            raise MptqError(f"{path} is damaged; remove it and go on with --resume") from error


def remove_journal(folder: Path) -> None:
    """Remove the files of a journal, where there is one; others in its folder stay.

    Raises:
        MptqError: they cannot be removed.
    """
    try:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise MptqError(f"cannot remove the journal {folder}: {error.strerror}; remove it") from error


def _tensors(before: Recipe, after: Recipe) -> Iterator[tuple[str, NDArray[Any]]]:
    """The tensors of all layers and norms that are not those of another recipe."""
    for name, quant in after.weights.items():
        if before.weights.get(name) is not quant:
            yield from ((f"{name}.{part}", getattr(quant, part)) for part in ("codes", "scale", "bias"))
    for name, sq_b in after.sq_b.items():
        if before.sq_b.get(name) is not sq_b:
            yield from ((f"{name}.sq_b.{part}", getattr(sq_b, part)) for part in ("shift", "scale"))
