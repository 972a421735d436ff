"""The picture of the network: a row a block, a cell a layer, its widths in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mptq_export.recipe.schema import ExportRecipe


@dataclass(frozen=True)
class Cell:
    """One layer that multiplies.

    Attributes:
        layer: its full name.
        role: its name inside the block.
        weights: width of its weights; None for a product of two activations.
        activations: widths of what it reads, one or two; of a portable file where codes are made of what layers give,
            the width of those: a layer runs at one width, in and out.
    """

    layer: str
    role: str
    weights: int | None
    activations: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One block.

    Attributes:
        name: such as `blocks.3`; of a layer outside all blocks its own name.
        cells: its layers in the order of the network.
    """

    name: str
    cells: tuple[Cell, ...]


def block_of(name: str) -> str:
    """`blocks.3` of `blocks.3.attn.qkv`; the name itself outside all blocks."""
    parts = name.split(".")
    numbered = [i for i, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else name


def layers_of(recipe: ExportRecipe, macs: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Activation widths of every layer that multiplies, in the order of the network.

    Args:
        recipe: of the export.
        macs: multiply-accumulates of every such layer, as far as they are known: of a portable file they alone tell
            products from sums.
    """
    if recipe.settings.form == "portable":
        return _portable_layers(recipe, macs)
    found: dict[str, list[int]] = {}
    for key, quant in recipe.activations.items():
        layer, _, operand = key.rpartition(".")
        # All others belong to tables (softmax, activation functions), which no matmul reads as they are.
        if layer in recipe.weights or operand in ("a", "b"):
            found.setdefault(layer, []).append(quant.bits)
    return {layer: tuple(dict.fromkeys(bits)) for layer, bits in found.items()}


def _portable_layers(recipe: ExportRecipe, macs: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """What a layer gives tells its own width; what it makes of an operand is of that width or narrower."""
    given: dict[str, list[int]] = {}
    made: dict[str, list[int]] = {}
    for key, quant in recipe.activations.items():
        layer, _, operand = key.rpartition(".")
        if layer in recipe.weights or layer in macs:
            made.setdefault(layer, [])
            (given if operand == "output" else made).setdefault(layer, []).append(quant.bits)
    return {layer: tuple(dict.fromkeys([*given.get(layer, []), *bits])) for layer, bits in made.items()}


def rows_of(recipe: ExportRecipe, macs: Mapping[str, int]) -> tuple[Row, ...]:
    """All blocks; see `layers_of`."""
    rows: dict[str, list[Cell]] = {}
    for layer, activations in layers_of(recipe, macs).items():
        block = block_of(layer)
        weight = recipe.weights.get(layer)
        role = layer.removeprefix(f"{block}.").rpartition(".")[2]
        rows.setdefault(block, []).append(Cell(layer, role, weight.bits if weight else None, activations))
    return tuple(Row(name, tuple(cells)) for name, cells in rows.items())
