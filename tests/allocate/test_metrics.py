"""What a search keeps small: a distance by name, or a loss of the caller's own."""

import math
from copy import copy
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from quantize.helpers import digits

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.own_loss import OwnLoss
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.statistics import collect
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Outputs
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import PAPER
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.recipe.metric import Metric
from mptq_export.recipe.outputs import Output
from mptq_export.support.errors import MptqError

from .searches import Searched, searched


def squares(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    return (exact - found).square().sum(1)


def asked(metric: Metric | None) -> SearchRequest:
    return SearchRequest((Budget.parse("4"),), WidthDomain.of_range(range(3, 6)), tied=True, pins={}, metric=metric)


def with_metric(problem: AllocationProblem, metric: Metric | None) -> AllocationProblem:
    """The same problem with another metric, and what was made for all of them: transforms and quantizers."""
    other = copy(problem)
    for name in ("table", "unit", "evaluator"):
        other.__dict__.pop(name, None)
    other.settings = asked(metric)
    other.metric_sample = other._try_own(other.calibrated)
    return other


@pytest.fixture(scope="module")
def by_squares(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    problem = AllocationProblem(digits().calibrated, PAPER, asked(squares))
    return searched(problem, tmp_path_factory.mktemp("own") / "x.jsonl")


def test_an_own_loss_is_what_is_measured(by_squares: Searched):
    (found,) = by_squares.found
    assert max(by_squares.search.problem.costs.mean_bits(found.widths)) <= 4 + 1e-9
    evaluator = by_squares.problem.evaluator
    images = evaluator.divergences(found.widths)
    assert fmean(images) == found.divergence and len(images) == len(by_squares.problem.measuring_images)
    # Squared distances of logits are of another size than the KL divergences that the estimates are of.
    assert by_squares.problem.unit > 3
    estimated = by_squares.search.problem.summed(found.widths)
    assert found.divergence / 20 < estimated < 5 * found.divergence


def test_one_number_for_all_images_finds_the_same(by_squares: Searched, tmp_path: Path):
    problem = with_metric(by_squares.problem, lambda exact, found: squares(exact, found).mean().item())
    result = searched(problem, tmp_path / "x.jsonl")
    (found,) = result.found
    assert max(result.search.problem.costs.mean_bits(found.widths)) <= 4 + 1e-9
    assert found.divergence < 1.3 * by_squares.found[0].divergence


@pytest.mark.parametrize(
    ("metric", "factor"), [("kl", 16), ("cosine", 4), ("mse", 4)]
)  # kl bends away from its second derivative
def test_a_name_chooses_the_distance_of_estimates_and_measurements(by_squares: Searched, metric: Any, factor: float):
    problem = with_metric(by_squares.problem, metric)
    start = problem.space.start
    graph = problem.transformed.graph
    with torch.no_grad():
        exact = evaluate(graph, problem.measuring_images.double())
    measured = problem.evaluator.divergences(start)
    simulated = problem.evaluator.outputs(start)
    assert measured == divergence(graph, exact, simulated, metric).tolist()
    narrow = dict.fromkeys(start, (3, 3))
    rise = fmean(problem.evaluator.divergences(narrow)) - fmean(measured)
    estimated = sum(problem.table[unit.key, 3] - problem.table[unit.key, 5] for unit in problem.space.units)
    assert rise / factor < estimated < factor * rise


def test_the_rows_count_by_the_metric():
    calibrated = digits().calibrated
    method = replace(PAPER, row_importance=True)
    by_kind, kl, mse = (replace(calibrated, metric=m).with_importance(method).importance for m in (None, "kl", "mse"))
    assert by_kind is not None and kl is not None and mse is not None
    assert all(torch.equal(by_kind[name], rows) for name, rows in kl.items())
    assert any(not torch.equal(by_kind[name], rows) for name, rows in mse.items())


def test_the_metric_of_detectors_is_of_detectors_alone():
    with pytest.raises(MptqError, match=r"--metric detection .* the model gives logits \(logits\); leave --metric out"):
        AllocationProblem(digits().calibrated, PAPER, asked("detection"))


def test_a_journal_is_of_one_metric(by_squares: Searched):
    def twice(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        return 2 * squares(exact, found)

    twice.__name__ = squares.__name__
    problem = by_squares.problem
    metrics: tuple[Metric | None, ...] = (None, "kl", "mse", squares, twice)
    assert len({with_metric(problem, metric).identity for metric in metrics}) == len(metrics)
    assert with_metric(problem, squares).identity == problem.identity


def test_what_it_gives_for_the_float_model_is_subtracted():
    graph = digits().graph
    x, y = (torch.randn(4, 10, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    similar = OwnLoss(lambda a, b: -torch.nn.functional.cosine_similarity(a, b), graph).excess(x, y)
    assert similar == pytest.approx((1 - torch.nn.functional.cosine_similarity(x, y)).tolist(), abs=1e-6)


def two_outputs() -> Graph:
    """The digits model with a second output: what its head reads, as tokens of four numbers."""
    graph = digits().graph
    head = graph[graph.output]
    source = graph[head.inputs[0]]
    given = (Output("logits", "logits"), Output("pooled", "embedding"))
    size = head.shape.dims[1] + math.prod(source.shape.dims)
    last = Node(Outputs(given), "outputs", (head.name, source.name), Shape((1, size)))
    return Graph([*graph, last], "outputs")


def test_several_outputs_come_by_name_in_their_own_shapes():
    graph = two_outputs()
    seen: list[dict[str, torch.Tensor]] = []

    def loss(exact: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(found)
        return sum((exact[name] - value).abs().mean(1) for name, value in found.items())  # type: ignore[return-value]

    with torch.no_grad():
        output = evaluate(graph, digits().calib[:3].double())
        assert len(OwnLoss(loss, graph).tried(output)) == 6
        pooled = evaluate(Graph(graph, graph.outputs["pooled"]).pruned(), digits().calib[:3].double())
    assert {name: tuple(value.shape) for name, value in seen[0].items()} == {
        "logits": (3, 10),
        "pooled": (3, pooled.shape[1]),
    }
    assert all(value.dtype == torch.float32 for value in seen[0].values())
    assert torch.allclose(seen[0]["pooled"], pooled.float(), atol=1e-5)
    images = digits().calib[:6]
    calibrated = CalibratedGraph(graph, collect(graph, [images.numpy()]), images)
    problem = AllocationProblem(calibrated, PAPER, asked(loss))
    assert len(problem.evaluator.divergences(problem.space.start)) == len(problem.measuring_images)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("l1", "metric 'l1' is not known; choose one of kl, cosine, mse"),
        (3, "metric 3 is not known"),
        (lambda exact: 0.0, r"raised TypeError: .*; it is called with \(exact, found\), tensors of logits \[B, 10\]"),
        (lambda exact, found: None, "gives a NoneType, not a number"),
        (lambda exact, found: exact - found, r"gives shape \[4, 10\] for 4 images; it must give one number, or one an"),
        (lambda exact, found: float("nan"), "gives nan; it must be finite"),
        (lambda exact, found: 1 / 0, "raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_loss_is_refused_before_the_search(metric: Any, words: str):
    with pytest.raises(MptqError, match=words) as caught:
        AllocationProblem(digits().calibrated, PAPER, asked(metric))
    assert "\n" not in str(caught.value)


def test_what_is_better_with_fewer_bits_is_no_loss(by_squares: Searched):
    problem = with_metric(by_squares.problem, lambda exact, found: -squares(exact, found))
    with pytest.raises(
        MptqError, match=r"does not rise when all layers go down to the narrowest of 3-5 bits .*; it must be a loss"
    ):
        assert problem.unit
