"""Every small mistake in a graph that changes what it computes is found by the comparison with the model."""

import pytest
import torch
from batch_models import SIZE, Tower
from tiny_models import captured, images, prepared, tiny

from mptq_export.capture.compare_batches import TOLERANCE, largest_change
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.run import capture
from mptq_export.transform.prepare import prepare

from .mutations import mutants

#: Two batch sizes that the comparison does not try.
OTHER_BATCHES = (4, 7)

#: What float64 may leave of a mistake that is none.
NOTHING = 1e-9


def unchanged(mutant: Graph, graph: Graph, kind: str) -> bool:
    """Whether a mutant is the same function: in float64, of other images, at other batch sizes."""
    for batch in OTHER_BATCHES:
        x = images(kind, batch, seed=batch).double()
        try:
            found = evaluate(mutant, x)
        except (RuntimeError, IndexError):
            return False
        wanted = evaluate(graph, x)
        if found.shape != wanted.shape or not (found - wanted).abs().max() <= NOTHING * wanted.abs().max():
            return False
    return True


def survivors(graph: Graph, model: torch.nn.Module, kind: str) -> tuple[int, list[str]]:
    """How many mutants were tried, and those that compute something else and are not found."""
    x = images(kind, 5)
    tried, missed = 0, []
    with torch.no_grad():
        expected = model(x)
        assert largest_change(graph, x, expected) <= TOLERANCE / 10
        for what, mutant in mutants(graph):
            tried += 1
            found = not largest_change(mutant, x, expected) <= TOLERANCE
            if not found and not unchanged(mutant, graph, kind):
                missed.append(what)
    return tried, missed


@pytest.mark.parametrize(("kind", "least"), [("vit", 90), ("swin", 400), ("pit", 100), ("eva", 100)])
def test_a_mistake_in_what_was_captured_is_found(kind: str, least: int):
    tried, missed = survivors(captured(kind), tiny(kind), kind)
    assert not missed
    assert tried >= least


@pytest.mark.parametrize(("kind", "least"), [("vit", 80), ("levit", 400)])
def test_a_mistake_in_what_the_rewrites_made_is_found(kind: str, least: int):
    tried, missed = survivors(prepared(kind), tiny(kind), kind)
    assert not missed
    assert tried >= least


def test_a_mistake_where_tokens_are_the_first_axis_is_found():
    torch.manual_seed(0)
    model = Tower(batch_first=False, tokens_first=True).eval().requires_grad_(False)
    graph = capture(model, SIZE)
    for each in (graph, prepare(graph, images("vit", 5))):
        tried, missed = survivors(each, model, "vit")
        assert not missed
        assert tried >= 60
