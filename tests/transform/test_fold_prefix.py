"""Class and register tokens become one constant behind a padding."""

import pytest
from tiny_models import captured

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Concat, Constant, Input, Pad, Slice
from mptq_export.transform.fold_multipliers import fold_multipliers
from mptq_export.transform.fold_prefix import fold_prefix

from .graphs import ops


@pytest.mark.parametrize(("kind", "tokens"), [("vit", 1), ("deit_distilled", 2), ("dinov2_reg", 5)])
def test_tokens_become_one_constant_behind_a_pad(kind: str, tokens: int):
    graph = fold_prefix(fold_multipliers(captured(kind))).pruned()
    assert not ops(graph, Concat)
    (pad,) = ops(graph, Pad)
    assert (pad.op.before, pad.op.after) == (tokens, 0)
    (added,) = [n for n in graph if isinstance(n.op, Add) and pad.name in n.inputs]
    constants = [name for name in added.inputs if isinstance(graph[name].op, Constant)]
    assert len(constants) == 1  # tokens and position embeddings are one table


def test_a_concatenation_of_two_activations_stays():
    x = Node(Input(), "input", (), Shape((1, 6, 8)))
    y = Node(Slice(axis=1, start=0, end=2), "y", ("input",), Shape((1, 2, 8)))
    graph = Graph([x, y, Node(Concat(axis=1), "c", ("y", "input"), Shape((1, 8, 8)))], "c")
    assert [type(node.op) for node in fold_prefix(graph)] == [Input, Slice, Concat]
