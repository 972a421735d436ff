"""Allocations out of a search: of the budgets that it was made for, or of any wider one afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mptq_export.allocate.allocation import Aim, Allocation, graph_of
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.origin import check_origin, origin_of
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_terms import CalibrationTerms, SearchTerms
from mptq_export.allocate.units import layers
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS
from mptq_export.recipe.metric import metric_text
from mptq_export.recipe.settings import MethodName
from mptq_export.support.errors import MptqError
from mptq_export.targets.table import portable_form

if TYPE_CHECKING:
    from mptq_export.allocate.stored_search import Search


@dataclass(frozen=True)
class SearchedModel:
    """One of the models of a search.

    Attributes:
        name: of the part that it is; None where it is the only one.
        calibrated: it.
        given: what is quantized.
    """

    name: str | None
    calibrated: Calibrated
    given: CalibratedGraph


def terms_of(parts: Sequence[Calibrated], settings: SearchRequest, method: MethodName, aim: Aim) -> SearchTerms:
    """What is stored of what a search was asked for.

    Args:
        parts: the calibrated model, or the networks of a detector.
        settings: what is searched; its budgets are left out.
        method: how layers are quantized.
        aim: what the files are for.
    """
    return SearchTerms(
        origin=origin_of(parts),
        calibration=CalibrationTerms.of(parts[0].asked),
        weights=settings.widths.weights,
        activations=settings.widths.activations,
        tied=settings.tied,
        pins=dict(settings.pins),
        metric=metric_text(settings.metric),
        method=method,
        target=aim.target,
        residual_bits=aim.residual_bits,
        input_type=None if portable_form(aim.target) is None else aim.input_type,
    )


def allocations(
    search: "Search", settings: SearchRequest, models: Sequence[SearchedModel]
) -> list[tuple[Allocation, ...]]:
    """For every budget, in their order, an allocation of each model.

    Args:
        search: has an answer to each.
        settings: the budgets, and what was searched.
        models: in the order of the search.

    Raises:
        MptqError: no widths meet a budget, or the search was interrupted before it came so far.
    """
    each = [(model, search.problem if model.name is None else search.problem.part(model.name)) for model in models]
    found = []
    for answer in map(search.answer, settings.budgets):
        found.append(
            tuple(
                Allocation(
                    calibrated=model.calibrated,
                    settings=settings,
                    method=search.terms.method,
                    search=search,
                    problem=problem,
                    found=replace(
                        answer,
                        widths={
                            layer: answer.widths[layer if model.name is None else f"{model.name}/{layer}"]
                            for layer in problem.layers
                        },
                    ),
                    given=model.given,
                    target=search.terms.target,
                    residual_bits=search.terms.residual_bits,
                )
                for model, problem in each
            )
        )
    return found


def picked(search: "Search", budgets: tuple[Budget, ...], calibrated: Calibrated) -> list[Allocation]:
    """An allocation a budget, with those of a detector's heads, as a search for these budgets gives them.

    What costs time are the digests of the weights, and the importance of rows, which any export measures.

    Raises:
        MptqError: the search is of something else, or has no answer.
    """
    terms = search.terms
    aim = Aim(terms.target, terms.residual_bits, terms.input_type)
    parts = (calibrated, *calibrated.heads)
    check_origin(terms.origin, parts)
    names = [part_name(part) if calibrated.heads else None for part in parts]
    graphs = [replace(graph_of(part, aim), metric=terms.closed_form) for part in parts]
    heads = ["" if name is None else f"{name}/" for name in names]
    own = [f"{head}{node.name}" for head, given in zip(heads, graphs, strict=True) for node in layers(given.graph)]
    if own != list(search.problem.layers):
        raise MptqError(
            "the search is of other layers than this model has as it is loaded now: give the options of the model "
            "(--features, --outputs, --img-size and such) that it was searched with"
        )
    measured = [given.with_importance(METHODS[terms.method]) for given in graphs]
    models = [SearchedModel(*each) for each in zip(names, parts, measured, strict=True)]
    return [replace(first, heads=tuple(rest)) for first, *rest in allocations(search, terms.request(budgets), models)]


def part_name(calibrated: Calibrated) -> str:
    """What a network of a detector of two stages is called in a search."""
    detector = calibrated.loaded.detector
    assert detector is not None
    return detector.part
