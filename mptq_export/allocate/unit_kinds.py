"""Units that a table is wrong about alike: by side, by what gives them their values, and by depth."""

from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Movement


def unit_kinds(graph: Graph, space: SearchSpace) -> dict[str, str]:
    """The kind of every unit, by its key: `weights`, or the op that a layer reads and its own; `early` or `late`.

    Args:
        graph: prepared canonical graph.
        space: whose units.
    """
    order = {unit.layer: number for number, unit in enumerate(space.units)}
    half = len(space.units) / 2
    return {
        unit.key: f"{_kind(graph, unit)}, {'early' if order[unit.layer] < half else 'late'}" for unit in space.units
    }


def _kind(graph: Graph, unit: Unit) -> str:
    if unit.side == "weights":
        return "weights"
    node = graph[unit.layer]
    source = graph[node.inputs[0]]
    while isinstance(source.op, Movement):
        source = graph[source.inputs[0]]
    return f"{type(source.op).__name__} to {type(node.op).__name__}"
