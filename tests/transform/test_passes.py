"""Every rewrite keeps the function, settles at once, and leaves the graph that it got as it was."""

from dataclasses import replace

import pytest
from tiny_models import KINDS, MEAN, STD, captured, images, tiny

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import LayerNorm
from mptq_export.support.errors import MptqError
from mptq_export.transform.fold_normalisation import fold_normalisation
from mptq_export.transform.prepare import PASSES, prepare

from .graphs import same, until


@pytest.mark.parametrize("kind", KINDS)
def test_every_pass_keeps_the_function_at_any_batch(kind: str):
    graph = captured(kind)
    for batch in (1, 3):
        x = images(kind, batch, seed=3)
        expected = tiny(kind)(x)
        step = graph
        for rewrite in PASSES:
            step = rewrite(step).pruned()
            assert same(evaluate(step, x), expected), rewrite.__name__
        assert same(evaluate(fold_normalisation(step, MEAN, STD), x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_passes_do_nothing_the_second_time(kind: str):
    once = until(kind, PASSES[-1])
    for rewrite in PASSES:
        again = rewrite(once)
        assert [(n.op, n.shape) for n in again] == [(n.op, n.shape) for n in once], rewrite.__name__


@pytest.mark.parametrize("kind", KINDS)
def test_passes_leave_the_graph_that_they_got_as_it_was(kind: str):
    before = [(n.op, n.name, n.inputs) for n in captured(kind)]
    sums = [float(value.sum()) for n in captured(kind) for value in n.params.values()]
    prepare(captured(kind), images(kind, 2), (MEAN, STD))
    assert [(n.op, n.name, n.inputs) for n in captured(kind)] == before
    assert [float(value.sum()) for n in captured(kind) for value in n.params.values()] == sums


def test_prepare_refuses_a_rewrite_that_changes_the_function():
    def spoil(graph: Graph) -> Graph:
        norm = next(node for node in graph if isinstance(node.op, LayerNorm))
        return graph.updated({norm.name: replace(norm, op=LayerNorm(1.0))})

    with pytest.raises(MptqError, match="the rewrite spoil changed the output by"):
        prepare(captured("vit"), images("vit", 2), passes=(spoil,))
