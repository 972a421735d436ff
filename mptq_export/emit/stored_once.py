"""Weight codes that a file holds once for several layers: those of one layer of the model, called at several places."""

import numpy as np

from mptq_export.capture.calls import calls
from mptq_export.capture.graph import Graph
from mptq_export.recipe.schema import Recipe, WeightQuant


def weight_names(graph: Graph, recipe: Recipe) -> dict[str, str]:
    """Of every layer the name that its weight has in the file: that of the first call with the same codes.

    Args:
        graph: the graph of the recipe.
        recipe: with the codes of every layer.
    """
    found: dict[str, str] = {}
    for name, names in calls(graph).items():
        quant = recipe.weights[name]
        alike = (other for other in names if other == name or (other in found and _alike(recipe.weights[other], quant)))
        found[name] = f"{next(alike)}.weight"
    return found


def _alike(one: WeightQuant, other: WeightQuant) -> bool:
    return one.bits == other.bits and np.array_equal(one.codes, other.codes)
