"""What a look at the layers refuses of a search, before they are measured."""

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.exact_form import EXACT_SEARCH
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.capture.graph import Graph
from mptq_export.support.errors import MptqError


def check_budgets_reachable(settings: SearchRequest, graph: Graph, form: SearchForm = EXACT_SEARCH) -> None:
    """Refuse budgets that the layers of a model cannot meet.

    Args:
        settings: what to search.
        graph: prepared canonical graph.
        form: of the file.

    Raises:
        MptqError: a pin matches no layer, a budget is of time where none is measured, or it is below what the cheapest
            widths have, of a file size what their codes alone have.
    """
    domain = settings.widths
    space = SearchSpace.of(graph, domain, tied=settings.tied, pins=settings.pins, fixed=form.fixed(graph, domain))
    widths = {name: domain.lowest for name in space.start} | space.pinned
    widths = {name: (weights, space.fixed.get(name, bits)) for name, (weights, bits) in widths.items()}
    costs = Costs.of(graph, operations=form.operations(graph, domain))
    codes = sum(count * widths[name][0] for name, count in costs.parameters.items()) / 8
    for budget in settings.budgets:
        if budget.kind == "latency" and not form.timed:
            raise MptqError(
                f"--mixed {budget.text}: a latency would be measured in onnxruntime on this CPU, which says nothing of "
                "the target; give bit operations, such as 75% (of those at 8/8), a mean width or a file size"
            )
        constraints = [] if budget.kind in ("bytes", "latency") else costs.constraints(budget)
        if all(each.met(widths) for each in constraints) and not (budget.kind == "bytes" and codes > budget.most):
            continue
        has = "mean widths {:.2f}/{:.2f}".format(*costs.mean_bits(widths))
        if budget.kind in ("operations", "operations share"):
            raise budget.not_met(domain, f"{has}, {costs.operations_text(widths)}")
        raise budget.not_met(domain, f"{has}, and {codes / 1e6:.2f} MB of codes alone")
