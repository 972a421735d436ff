"""Which kinds of layers got which widths in a mixed export.

    python -m tools.bench.widths NAME.recipe.json [OTHER.recipe.json ...]

A row is a kind of layer (its name without the block's number): mean width of weights / of activations (of activations
alone where there are no weights) over all blocks, and in the first, middle and last third of them.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from mptq_export.recipe.store import read_recipe
from mptq_export.support.errors import MptqError
from tools.options import Parser, existing

_BLOCK = re.compile(r"(?<=blocks\.)\d+")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.widths", __doc__)
    parser.add_argument("recipes", nargs="+", type=existing, metavar="RECIPE")
    return parser.run(run, arguments)


def run(*, recipes: Sequence[Path]) -> None:
    for path in recipes:
        recipe = read_recipe(path)
        settings = recipe.settings
        if settings.search is None:
            raise MptqError(f"{path} has one width for all layers; give the recipe of an export with --mixed")
        table = Table("layers", "all", "first third", "middle", "last third", title=f"{path.name}, {settings.bits}")
        for kind, found in sorted(by_kind(settings.search.widths, set(recipe.weights)).items()):
            third = max(1, len(found) // 3)
            parts = [found, found[:third], found[third:-third], found[-third:]] if len(found) > 2 else [found]
            table.add_row(kind, *(text(part) for part in parts))
        Console().print(table)


def by_kind(widths: dict[str, str], weighted: set[str]) -> dict[str, list[list[int]]]:
    """[weights, activations] of the layers of a kind, in graph order; [activations] of those without weights."""
    found: dict[str, list[list[int]]] = {}
    for layer, both in widths.items():
        pair = [int(text) for text in both.split("/")]
        found.setdefault(_BLOCK.sub("*", layer), []).append(pair if layer in weighted else pair[1:])
    return found


def text(part: list[list[int]]) -> str:
    """Mean widths of some layers."""
    return "/".join(f"{mean(column):.1f}" for column in zip(*part, strict=True))


if __name__ == "__main__":
    sys.exit(main())
