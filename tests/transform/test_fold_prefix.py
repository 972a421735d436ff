"""Class and register tokens become one constant behind a padding."""

import pytest
from tiny_models import captured

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.transform.fold_multipliers import fold_multipliers
from mptq_export.transform.fold_prefix import fold_prefix

from .graphs import ops


@pytest.mark.parametrize(("kind", "tokens"), [("vit", 1), ("deit_distilled", 2), ("dinov2_reg", 5)])
def test_tokens_become_one_constant_behind_a_pad(kind: str, tokens: int):
    graph = fold_prefix(fold_multipliers(captured(kind))).pruned()
    assert not ops(graph, "concat")
    (pad,) = ops(graph, "pad")
    assert (pad.attrs["before"], pad.attrs["after"]) == (tokens, 0)
    (added,) = [n for n in graph if n.op == "add" and pad.name in n.inputs]
    constants = [name for name in added.inputs if graph[name].op == "constant"]
    assert len(constants) == 1  # tokens and position embeddings are one table


def test_a_concatenation_of_two_activations_stays():
    x, y = Node("input", "input", (), Shape((1, 6, 8))), Node("slice", "y", ("input",), Shape((1, 2, 8)))
    y = Node("slice", "y", ("input",), Shape((1, 2, 8)), {"axis": 1, "start": 0, "end": 2})
    graph = Graph([x, y, Node("concat", "c", ("y", "input"), Shape((1, 8, 8)), {"axis": 1})], "c")
    assert [node.op for node in fold_prefix(graph)] == ["input", "slice", "concat"]
