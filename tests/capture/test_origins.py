"""Every constant says which tensors of the model it comes from: all that change it when they are changed."""

import copy
from collections.abc import Mapping

import pytest
import torch
from tiny_models import size, tiny

from mptq_export.capture.graph import Graph
from mptq_export.capture.origins import Origins
from mptq_export.capture.run import capture_noted
from mptq_export.recipe.outputs import LOGITS
from mptq_export.transform.prepare import rewritten

NORMALISATION = ((0.5, 0.4, 0.45), (0.25, 0.2, 0.3))


def traced(kind: str, state: Mapping[str, torch.Tensor]) -> tuple[Graph, dict[str, frozenset[str]]]:
    """The rewritten graph of a model with these tensors, and where its constants come from."""
    model = copy.deepcopy(tiny(kind))
    model.load_state_dict(state)
    origins = Origins(model.state_dict())
    graph = capture_noted(model, size(kind), LOGITS, origins)
    with torch.no_grad(), origins:
        graph = rewritten(graph, NORMALISATION)
    return graph, origins.of_graph(graph)


@pytest.mark.parametrize("kind", ["vit", "swin", "levit"])
def test_what_changes_a_constant_is_one_of_its_origins(kind: str):
    """One tensor of every sort is changed: it moves constants that name it, and no other."""
    state = {name: tensor.detach() for name, tensor in tiny(kind).state_dict().items()}
    graph, found = traced(kind, state)
    floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
    sorts = {name.rpartition(".")[0].rpartition(".")[2] + name.rpartition(".")[2]: name for name in floats}
    tried = list(sorts.values())[:: max(1, len(sorts) // 6)]
    assert len(tried) > 4
    for name in tried:
        other, _ = traced(kind, {**state, name: state[name] * 1.5 + 0.25})
        changed = {
            f"{node.name}.{key}"
            for node in graph
            for key, value in node.params.items()
            if not torch.equal(value, other[node.name].params[key])
        }
        assert changed, name
        assert {place for place in changed if name not in found[place]} == set()


def test_all_that_a_model_reads_is_followed():
    state = tiny("vit").state_dict()
    _, found = traced("vit", state)
    assert set(state) == frozenset[str]().union(*found.values())
    assert found["blocks.0.attn.qkv.weight"] == {"blocks.0.attn.qkv.weight"}
    assert "cls_token" not in found["head.weight"]


def test_views_and_changes_in_place_keep_origins():
    first, second = torch.ones(4), torch.ones(4)
    origins = Origins({"first": first, "second": second})
    with origins:
        made = torch.zeros(2, 4)
        made[0] = first[:2].repeat(2)
        made[1].add_(second)
        plain = torch.zeros(2) + 1
    assert origins.of(made.reshape(-1)) == {"first", "second"}
    assert origins.of(plain) == set()
