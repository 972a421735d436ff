"""Write and read a recipe: OUT.recipe.json for people, OUT.recipe.safetensors for the codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mptq_export.recipe.json_layout import RecipeJson, RotationEntry, SqBEntry, WeightEntry
from mptq_export.recipe.schema import VERSION, ExportRecipe, Recipe, SqB, WeightQuant
from mptq_export.recipe.settings import Settings
from mptq_export.recipe.weight_levels import check_regions
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import json_text, load_json
from mptq_export.support.typed_json import from_json


def recipe_paths(onnx_path: Path) -> tuple[Path, Path]:
    """The two files that lie beside an exported ONNX file."""
    return onnx_path.with_suffix(".recipe.json"), onnx_path.with_suffix(".recipe.safetensors")


def tensors_path(json_path: Path) -> Path:
    """The file with the codes of a recipe."""
    return json_path.with_suffix(".safetensors")


def to_json(recipe: ExportRecipe) -> str:
    """What people read, a line for every layer; the same recipe gives the same text, byte for byte."""
    return json_text(
        RecipeJson(
            recipe_version=VERSION,
            model=recipe.model,
            settings=recipe.settings,
            bits=layer_bits(recipe),
            activations=recipe.activations,
            weights={name: WeightEntry.of(quant) for name, quant in recipe.weights.items()},
            smoothing={name: SqBEntry.of(sq_b) for name, sq_b in recipe.sq_b.items()},
            exponents=recipe.exponents,
            proof=tuple(recipe.proof),
            contents=recipe.contents,
            rotations={name: RotationEntry.of(matrix) for name, matrix in recipe.rotations.items()},
            calls=recipe.further_calls,
            regions={name: quant.regions for name, quant in recipe.weights.items() if quant.regions is not None},
        )
    )


def layer_bits(recipe: Recipe) -> dict[str, str]:
    """`W/A` of every layer that has a quantizer, `-` for no weights; operands of different widths as `A,B`."""
    operands: dict[str, list[int]] = {}
    for key, quant in recipe.activations.items():
        operands.setdefault(key.rsplit(".", 1)[0], []).append(quant.bits)
    table = {}
    for layer, bits in operands.items():
        weight = recipe.weights.get(layer)
        table[layer] = f"{weight.bits if weight else '-'}/{','.join(str(b) for b in dict.fromkeys(bits))}"
    return table


def recipe_writers(recipe: ExportRecipe, onnx_path: Path) -> dict[Path, Callable[[Path], None]]:
    """Both files and what writes each, for `write_together`."""
    json_path, tensor_path = recipe_paths(onnx_path)
    tensors: dict[str, NDArray[Any]] = {}
    further = recipe.further_calls
    for name, quant in recipe.weights.items():
        tensors |= {} if name in further else {f"{name}.codes": quant.codes, f"{name}.scale": quant.scale}
        tensors[f"{name}.bias"] = quant.bias
    for name, entry in recipe.sq_b.items():
        tensors |= {f"{name}.smoothing.shift": entry.shift, f"{name}.smoothing.scale": entry.scale}
    tensors |= {f"{name}.rotation": matrix for name, matrix in recipe.rotations.items()}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    text = to_json(recipe)

    def write_text(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    def write_tensors(path: Path) -> None:
        try:
            save_file(tensors, path)
        except SafetensorError as error:  # a full disk is one, too
            raise OSError(str(error)) from error

    return {tensor_path: write_tensors, json_path: write_text}


def read_recipe(json_path: Path) -> ExportRecipe:
    """Read a recipe with its tensors.

    Raises:
        MptqError: a file is missing or damaged, a setting is missing or not what it can be, the version is another one,
            or the bit-widths were edited.
    """
    tensor_path = tensors_path(json_path)
    try:
        content = load_json(json_path)
        _check_version(json_path, content.get("recipe_version"))
        if not tensor_path.is_file():
            raise MptqError(
                f"{tensor_path} does not exist: it holds the codes of {json_path.name}; keep the two files together, "
                "or export again"
            )
        readable = from_json(RecipeJson, content, "recipe")
        recipe = _recipe(readable, load_file(tensor_path))
    except OSError as error:
        raise MptqError(f"cannot read the recipe {json_path}: {error.strerror or error}; check the path") from error
    except (ValueError, KeyError, AttributeError, OverflowError, RecursionError, SafetensorError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise MptqError(
            f"{json_path} is not a recipe of this program, or it is damaged ({reason}); restore the file, or export "
            "again"
        ) from error
    _check_unchanged(json_path, readable, recipe)
    return recipe


def read_settings(json_path: Path) -> Settings:
    """How an export was asked for, from the JSON of its recipe alone.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a recipe of this version, or its settings are not what they should be.
    """
    content = load_json(json_path)
    if not isinstance(content, dict) or content.get("recipe_version") != VERSION:
        raise ValueError(f"not a recipe of version {VERSION}")
    return from_json(Settings, content.get("settings"), "settings")


def _check_version(json_path: Path, version: object) -> None:
    if version != VERSION:
        raise MptqError(
            f"{json_path}: recipe version {version}, but this program reads {VERSION}; export again from the "
            "checkpoint, or replay with the mptq-export that wrote it"
        )


def _recipe(readable: RecipeJson, tensors: dict[str, NDArray[Any]]) -> ExportRecipe:
    def tensor(name: str, dtype: type[np.generic], axes: int, *, positive: bool = False) -> NDArray[Any]:
        value = tensors[name]
        if value.dtype != dtype or value.ndim != axes:
            raise ValueError(f"{name} is {value.dtype} of shape {list(value.shape)}")
        if not np.isfinite(value).all() or (positive and not (value > 0).all()):
            raise ValueError(f"{name} holds values that it cannot have")
        return value

    weights = {
        name: WeightQuant(
            codes=tensor(f"{readable.calls.get(name, name)}.codes", np.int8, 2),
            scale=tensor(f"{readable.calls.get(name, name)}.scale", np.float32, 1, positive=True),
            bias=tensor(f"{name}.bias", np.float32, 1),
            bits=entry.bits,
            form=entry.form,
            reason=entry.reason,
            regions=readable.regions.get(name),
        )
        for name, entry in readable.weights.items()
    }
    sq_b = {
        name: SqB(
            shift=tensor(f"{name}.smoothing.shift", np.float64, 1),
            scale=tensor(f"{name}.smoothing.scale", np.float64, 1, positive=True),
            strength=entry.strength,
            reason=entry.reason,
        )
        for name, entry in readable.smoothing.items()
    }
    rotations = {name: tensor(f"{name}.rotation", np.float64, 2) for name in readable.rotations}
    return ExportRecipe(
        activations=readable.activations,
        weights=weights,
        sq_b=sq_b,
        exponents=readable.exponents,
        proof=list(readable.proof),
        rotations=rotations,
        model=readable.model,
        settings=readable.settings,
        contents=readable.contents,
    )


def _check_unchanged(json_path: Path, readable: RecipeJson, recipe: ExportRecipe) -> None:
    """The codes and the bit-widths are those that were written together."""
    advice = (
        "codes cannot be given other bits without quantizing again: export again with other --bits, or restore the file"
    )
    for name, quant in recipe.weights.items():
        if WeightEntry.of(quant).sha256 != readable.weights[name].sha256:
            raise MptqError(f"{json_path}: the bits or codes of {name} are not those of its sha256; {advice}")
        try:
            check_regions(quant)
        except ValueError as error:
            raise MptqError(f"{json_path}: the regions of {name} cannot be: {error}; {advice}") from error
    for name, entry in recipe.sq_b.items():
        if SqBEntry.of(entry).sha256 != readable.smoothing[name].sha256:
            raise MptqError(
                f"{json_path}: the smoothing of {name} is not that of its sha256; its codes were made for it: restore "
                "the file, or export again"
            )
    for name, matrix in recipe.rotations.items():
        if RotationEntry.of(matrix) != readable.rotations[name]:
            raise MptqError(
                f"{json_path}: the rotation of {name} is not that of its sha256; its codes were made for it: restore "
                "the file, or export again"
            )
    for key, activation in recipe.activations.items():
        if activation.levels > 2**activation.bits:
            raise MptqError(f"{json_path}: {key} has more than 2^{activation.bits} levels; {advice}")
    for layer, bits in layer_bits(recipe).items():
        if readable.bits.get(layer) != bits:
            raise MptqError(f"{json_path}: the bits of {layer} are {bits} by its weights and activations; {advice}")
