"""What a look at the layers refuses of a search, before they are measured."""

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.units import layers, pinned_widths
from mptq_export.capture.graph import Graph


def check_budgets_reachable(settings: SearchRequest, graph: Graph) -> None:
    """Refuse budgets that the layers of a model cannot meet.

    Args:
        settings: what to search.
        graph: prepared canonical graph.

    Raises:
        MptqError: a pin matches no layer, or the codes alone are over a budget at the cheapest widths.
    """
    costs, bits = Costs.of(graph), settings.widths
    pinned = pinned_widths(graph, settings.pins)
    widths = {node.name: (bits[0], bits[0]) for node in layers(graph)} | pinned
    codes = sum(count * widths[name][0] for name, count in costs.parameters.items()) / 8
    for budget in settings.budgets:
        least = {"bits": max(costs.mean_bits(widths)), "bytes": codes}.get(budget.kind, 0.0)
        if least > budget.most * (1 + 1e-9):
            mean = "{:.2f}/{:.2f}".format(*costs.mean_bits(widths))
            raise budget.not_met(bits, f"mean widths {mean}, and {codes / 1e6:.2f} MB of codes alone")
