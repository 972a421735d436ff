"""What a look at the layers refuses of a search, before they are measured."""

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.exact_form import EXACT_SEARCH
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.divergence import detects
from mptq_export.support.errors import MptqError


def check_metric(settings: SearchRequest, graph: Graph) -> None:
    """Refuse the metric of detectors for what is none.

    Raises:
        MptqError: no output is of candidates.
    """
    if settings.metric == "detection" and not detects(graph):
        given = ", ".join(f"{each.name} ({each.kind})" for each in graph.given)
        raise MptqError(
            f"--metric detection compares scores and boxes of candidates, and the model gives {given}; leave --metric "
            "out, or say with --outputs NAME=KIND what is scores, choices or boxes"
        )


def check_budgets_reachable(settings: SearchRequest, graph: Graph, form: SearchForm = EXACT_SEARCH) -> None:
    """Refuse budgets that the layers of a model cannot meet.

    Args:
        settings: what to search.
        graph: prepared canonical graph.
        form: of the file.

    Raises:
        MptqError: a pin matches no layer, or a budget is below what the cheapest widths have, a file size below their
            codes alone.
    """
    domain = settings.widths
    space = SearchSpace.of(graph, domain, tied=settings.tied, pins=settings.pins, fixed=form.fixed(graph, domain))
    widths = {name: domain.lowest for name in space.start} | space.pinned
    widths = {name: (weights, space.fixed.get(name, bits)) for name, (weights, bits) in widths.items()}
    costs = Costs.of(graph, operations=form.operations(graph, domain))
    codes = sum(count * widths[name][0] for name, count in costs.parameters.items()) / 8
    for budget in settings.budgets:
        constraints = [] if budget.kind in ("bytes", "latency") else costs.constraints(budget)
        if all(each.met(widths) for each in constraints) and not (budget.kind == "bytes" and codes > budget.most):
            continue
        has = "mean widths {:.2f}/{:.2f}".format(*costs.mean_bits(widths))
        if budget.kind in ("operations", "operations share"):
            raise budget.not_met(domain, f"{has}, {costs.operations_text(widths)}")
        raise budget.not_met(domain, f"{has}, and {codes / 1e6:.2f} MB of codes alone")
