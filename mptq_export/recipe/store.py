"""Write and read a recipe: OUT.recipe.json for people, OUT.recipe.safetensors for the codes."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.schema import (
    VERSION,
    ActivationQuant,
    Claim,
    ExportRecipe,
    Recipe,
    Region,
    Smoothing,
    WeightQuant,
)
from mptq_export.recipe.settings import ModelIdentity, Settings
from mptq_export.support.errors import MptqError
from mptq_export.support.typed_json import from_json

#: Floats end at 2 ** 127; a grid beyond is no grid.
_LARGEST_EXPONENT = 126


def recipe_paths(onnx_path: Path) -> tuple[Path, Path]:
    """The two files that lie beside an exported ONNX file."""
    return onnx_path.with_suffix(".recipe.json"), onnx_path.with_suffix(".recipe.safetensors")


def tensors_path(json_path: Path) -> Path:
    """The file with the codes of a recipe."""
    return json_path.with_suffix(".safetensors")


def to_json(recipe: ExportRecipe) -> str:
    """The readable part, a line for every layer; the same recipe gives the same text, byte for byte."""
    weights = {
        name: {
            "bits": w.bits,
            "form": w.form,
            "shape": list(w.codes.shape),
            "reason": w.reason,
            "sha256": _weight_digest(w),
        }
        for name, w in recipe.weights.items()
    }
    smoothing = {
        name: {"strength": s.strength, "reason": s.reason, "sha256": _smoothing_digest(s)}
        for name, s in recipe.smoothing.items()
    }
    return _text(
        {
            "recipe_version": VERSION,
            "model": asdict(recipe.model),
            "settings": asdict(recipe.settings),
            "bits": layer_bits(recipe),
            "activations": {name: _activation_entry(quant) for name, quant in recipe.activations.items()},
            "weights": weights,
            "smoothing": smoothing,
            "exponents": recipe.exponents,
            "proof": [asdict(claim) for claim in recipe.proof],
            "contents": recipe.contents,
        }
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
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    json_path, tensor_path = recipe_paths(onnx_path)
    tensors: dict[str, NDArray[Any]] = {}
    for name, quant in recipe.weights.items():
        tensors |= {f"{name}.codes": quant.codes, f"{name}.scale": quant.scale, f"{name}.bias": quant.bias}
    for name, entry in recipe.smoothing.items():
        tensors |= {f"{name}.smoothing.shift": entry.shift, f"{name}.smoothing.scale": entry.scale}
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
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    tensor_path = tensors_path(json_path)
    try:
        content = json.loads(json_path.read_text(encoding="utf-8"))
        _check_version(json_path, content.get("recipe_version"))
        if not tensor_path.is_file():
            raise MptqError(
                f"{tensor_path} does not exist: it holds the codes of {json_path.name}; keep the two files together, "
                "or export again"
            )
        recipe = _recipe(content, load_file(tensor_path))
        _check_unchanged(json_path, content, recipe)
    except OSError as error:
        raise MptqError(f"cannot read the recipe {json_path}: {error.strerror or error}; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, SafetensorError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise MptqError(
            f"{json_path} is not a recipe of this program, or it is damaged ({reason}); restore the file, or export "
            "again"
        ) from error
    return recipe


def read_settings(json_path: Path) -> Settings:
    """How an export was asked for, from the readable part of its recipe alone.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a recipe of this version, or its settings are not what they should be.
    """
    content = json.loads(json_path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("recipe_version") != VERSION:
        raise ValueError(f"not a recipe of version {VERSION}")
    return from_json(Settings, content.get("settings"), "settings")


def _check_version(json_path: Path, version: object) -> None:
    if version != VERSION:
        raise MptqError(
            f"{json_path}: recipe version {version}, but this program reads {VERSION}; export again from the "
            "checkpoint, or replay with the mptq-export that wrote it"
        )


def _recipe(content: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> ExportRecipe:
    def tensor(name: str, dtype: type[np.generic], axes: int, *, positive: bool = False) -> NDArray[Any]:
        value = tensors[name]
        if value.dtype != dtype or value.ndim != axes:
            raise ValueError(f"{name} is {value.dtype} of shape {list(value.shape)}")
        if not np.isfinite(value).all() or (positive and not (value > 0).all()):
            raise ValueError(f"{name} holds values that it cannot have")
        return value

    weights = {
        name: WeightQuant(
            codes=tensor(f"{name}.codes", np.int8, 2),
            scale=tensor(f"{name}.scale", np.float32, 1, positive=True),
            bias=tensor(f"{name}.bias", np.float32, 1),
            bits=_integer(entry["bits"], 2, 8),
            form=_text_of(entry["form"]),
            reason=_text_of(entry["reason"]),
        )
        for name, entry in content["weights"].items()
    }
    smoothing = {
        name: Smoothing(
            shift=tensor(f"{name}.smoothing.shift", np.float64, 1),
            scale=tensor(f"{name}.smoothing.scale", np.float64, 1, positive=True),
            strength=float(entry["strength"]),
            reason=_text_of(entry["reason"]),
        )
        for name, entry in content["smoothing"].items()
    }
    return ExportRecipe(
        model=from_json(ModelIdentity, content["model"], "model"),
        settings=from_json(Settings, content["settings"], "settings"),
        activations={name: _activation(entry) for name, entry in content["activations"].items()},
        weights=weights,
        smoothing=smoothing,
        exponents={
            name: _integer(value, -_LARGEST_EXPONENT, _LARGEST_EXPONENT) for name, value in content["exponents"].items()
        },
        proof=[from_json(Claim, entry, "proof") for entry in content["proof"]],
        contents={name: _text_of(digest) for name, digest in content.get("contents", {}).items()},
    )


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{value!r:.40} is not a whole number from {low} to {high}")
    return value


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _activation_entry(quant: ActivationQuant) -> dict[str, Any]:
    """Fields as they are; a region is [shift, last]."""
    return {**asdict(quant), "regions": [[region.shift, region.last] for region in quant.regions]}


def _activation(entry: dict[str, Any]) -> ActivationQuant:
    """The opposite of `_activation_entry`, with the ranges of the numbers checked."""
    regions = tuple(Region(_integer(shift, 0, 7), _integer(last, 0, 255)) for shift, last in entry["regions"])
    stored = {**entry, "scale": float(entry["scale"]), "regions": regions, "reason": _text_of(entry["reason"])}
    quant = ActivationQuant(**stored)
    codes = (quant.zero_point, quant.low, quant.high, quant.bits)
    if not all(isinstance(code, int) and 0 <= code <= 255 for code in codes) or quant.low > quant.high:
        raise ValueError(f"zero point, range or bits {codes}")
    if not (quant.scale > 0 and math.isfinite(quant.scale)):
        raise ValueError(f"scale {quant.scale}")
    return quant


def _check_unchanged(json_path: Path, content: dict[str, Any], recipe: ExportRecipe) -> None:
    """The codes and the bit-widths are those that were written together."""
    advice = (
        "codes cannot be given other bits without quantizing again: export again with other --bits, or restore the file"
    )
    for name, quant in recipe.weights.items():
        if _weight_digest(quant) != content["weights"][name]["sha256"]:
            raise MptqError(f"{json_path}: the bits or codes of {name} are not those of its sha256; {advice}")
    for name, entry in recipe.smoothing.items():
        if _smoothing_digest(entry) != content["smoothing"][name]["sha256"]:
            raise MptqError(
                f"{json_path}: the smoothing of {name} is not that of its sha256; its codes were made for it: restore "
                "the file, or export again"
            )
    for key, activation in recipe.activations.items():
        if _levels(activation) > 2**activation.bits:
            raise MptqError(f"{json_path}: {key} has more than 2^{activation.bits} levels; {advice}")
    expected, table = layer_bits(recipe), content["bits"]
    for layer, bits in expected.items():
        if table[layer] != bits:
            raise MptqError(f"{json_path}: the bits of {layer} are {bits} by its weights and activations; {advice}")


def _levels(quant: ActivationQuant) -> int:
    """How many codes a quantizer can give."""
    if not quant.regions:
        return quant.high - quant.low + 1
    count, start = 1, quant.low
    for region in quant.regions:
        count, start = count + ((region.last - start) >> region.shift), region.last
    return count


def _weight_digest(quant: WeightQuant) -> str:
    """SHA-256 of bits, form, codes, scale and bias."""
    return _digest(f"{quant.bits} {quant.form}", quant.codes, quant.scale, quant.bias)


def _smoothing_digest(smoothing: Smoothing) -> str:
    """SHA-256 of strength, shift and scale."""
    return _digest(repr(smoothing.strength), smoothing.shift, smoothing.scale)


def _digest(label: str, *arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256(label.encode())
    for array in arrays:
        digest.update(f" {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _text(content: dict[str, Any]) -> str:
    """JSON with a line for every entry of every section."""
    sections = []
    for name, value in content.items():
        if isinstance(value, dict):
            opening, closing = "{", "}"
            rows = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
        elif isinstance(value, list):
            opening, closing = "[", "]"
            rows = [f"  {json.dumps(entry)}" for entry in value]
        else:
            sections.append(f" {json.dumps(name)}: {json.dumps(value)}")
            continue
        sections.append(f" {json.dumps(name)}: {opening}\n" + ",\n".join(rows) + f"\n {closing}")
    return "{\n" + ",\n".join(sections) + "\n}\n"
