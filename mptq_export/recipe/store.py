"""Write and read a recipe: OUT.recipe.json for people, OUT.recipe.safetensors for the codes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.errors import MptqError
from mptq_export.recipe.schema import VERSION, ActivationQuant, Claim, Recipe, WeightQuant


def recipe_paths(onnx_path: Path) -> tuple[Path, Path]:
    """The two files that lie beside an exported ONNX file."""
    return onnx_path.with_suffix(".recipe.json"), onnx_path.with_suffix(".recipe.safetensors")


def to_json(recipe: Recipe) -> str:
    """The readable part; the same recipe gives the same text, byte for byte."""
    weights = {
        name: {"bits": w.bits, "form": w.form, "reason": w.reason, "shape": list(w.codes.shape), "sha256": _digest(w)}
        for name, w in recipe.weights.items()
    }
    content: dict[str, Any] = {
        "recipe_version": VERSION,
        "model": recipe.model,
        "settings": recipe.settings,
        "activations": {name: asdict(quant) for name, quant in recipe.activations.items()},
        "weights": weights,
        "exponents": recipe.exponents,
        "proof": [asdict(claim) for claim in recipe.proof],
    }
    return json.dumps(content, indent=1) + "\n"


def recipe_writers(recipe: Recipe, onnx_path: Path) -> dict[Path, Callable[[Path], None]]:
    """Both files and what writes each, for `write_together`."""
    from safetensors.numpy import save_file

    json_path, tensor_path = recipe_paths(onnx_path)
    tensors: dict[str, NDArray[Any]] = {}
    for name, quant in recipe.weights.items():
        tensors[f"{name}.codes"] = quant.codes
        tensors[f"{name}.scale"] = quant.scale
    text = to_json(recipe)

    def write_text(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return {tensor_path: lambda path: save_file(tensors, path), json_path: write_text}


def read_recipe(json_path: Path) -> Recipe:
    """Read a recipe with its tensors.

    Raises:
        MptqError: a file is missing or damaged, or the version is another one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    tensor_path = json_path.with_suffix(".safetensors")
    try:
        content = json.loads(json_path.read_text(encoding="utf-8"))
        if content.get("recipe_version") != VERSION:
            raise MptqError(
                f"{json_path}: recipe version {content.get('recipe_version')}, but this program reads {VERSION}"
            )
        tensors = load_file(tensor_path)
        weights = {
            name: WeightQuant(
                tensors[f"{name}.codes"], tensors[f"{name}.scale"], entry["bits"], entry["form"], entry["reason"]
            )
            for name, entry in content["weights"].items()
        }
        for name, quant in weights.items():
            if _digest(quant) != content["weights"][name]["sha256"]:
                raise MptqError(f"{tensor_path}: the codes of {name} are not those that {json_path.name} names")
        activations = {name: ActivationQuant(**entry) for name, entry in content["activations"].items()}
        claims = [Claim(**entry) for entry in content["proof"]]
        return Recipe(content["model"], content["settings"], activations, weights, content["exponents"], claims)
    except OSError as error:
        raise MptqError(f"cannot read the recipe {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise MptqError(f"{json_path} is not a recipe of this program ({error}); export again") from error


def _digest(quant: WeightQuant) -> str:
    data = np.ascontiguousarray(quant.codes).tobytes() + np.ascontiguousarray(quant.scale).tobytes()
    return hashlib.sha256(data).hexdigest()
