"""Every rewrite keeps the function, fires where it should and leaves alone what it should."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import KINDS, MEAN, STD, captured, images, pixels, prepared, tiny

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import MOVEMENT, Graph, Node, Shape
from mptq_export.errors import MptqError
from mptq_export.transform import PASSES, fold_normalisation, prepare
from mptq_export.transform.center_residual import center_residual
from mptq_export.transform.fold_multipliers import fold_multipliers
from mptq_export.transform.fold_prefix import fold_prefix
from mptq_export.transform.hoist_slices import hoist_slices
from mptq_export.transform.merge_movement import merge_movement

TOLERANCE = 2e-5


def ops(graph: Graph, op: str) -> list[Node]:
    return [node for node in graph if node.op == op]


def values(graph: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        evaluate(graph, x, lambda node, value: seen.update({node.name: value}))
    return seen


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= TOLERANCE * second.abs().max())


def until(kind: str, last: Callable[[Graph], Graph]) -> Graph:
    """The graph after all passes up to and including one."""
    graph = captured(kind)
    for rewrite in PASSES:
        graph = rewrite(graph).pruned()
        if rewrite is last:
            break
    return graph


def chain(*nodes: tuple[str, tuple[int, ...], dict], start: tuple[int, ...] = (1, 6, 8)) -> Graph:
    """A graph that runs one unary op after another on its input."""
    made = [Node("input", "input", (), Shape(start))]
    for i, (op, dims, attrs) in enumerate(nodes):
        params = {k: attrs.pop(k) for k in ("weight", "bias", "value") if k in attrs}
        made.append(Node(op, f"n{i}", (made[-1].name,), Shape(dims), attrs, params))
    return Graph(made, made[-1].name)


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
        assert [(n.op, n.shape, n.attrs) for n in again] == [(n.op, n.shape, n.attrs) for n in once], rewrite.__name__


@pytest.mark.parametrize("kind", KINDS)
def test_passes_leave_the_graph_that_they_got_as_it_was(kind: str):
    before = [(n.op, n.name, n.inputs, dict(n.attrs)) for n in captured(kind)]
    sums = [float(value.sum()) for n in captured(kind) for value in n.params.values()]
    prepare(captured(kind), images(kind, 2), (MEAN, STD))
    assert [(n.op, n.name, n.inputs, dict(n.attrs)) for n in captured(kind)] == before
    assert [float(value.sum()) for n in captured(kind) for value in n.params.values()] == sums


def test_prepare_refuses_a_rewrite_that_changes_the_function(monkeypatch: pytest.MonkeyPatch):
    def spoil(graph: Graph) -> Graph:
        norm = next(node for node in graph if node.op == "layer_norm")
        return graph.updated({norm.name: Node(**{**norm.__dict__, "attrs": {"eps": 1.0}})})

    monkeypatch.setattr("mptq_export.transform.PASSES", (spoil,))
    with pytest.raises(MptqError, match="the rewrite spoil changed the output by"):
        prepare(captured("vit"), images("vit", 2))


# -- fold_multipliers --------------------------------------------------------------------------------------------------


def test_layer_scale_goes_into_the_projections():
    graph, model = fold_multipliers(captured("dinov2")), tiny("dinov2")
    assert ops(captured("dinov2"), "mul")
    assert not ops(graph, "mul")
    block = model.blocks[0]
    assert torch.allclose(
        graph["blocks.0.attn.proj"].params["weight"], block.attn.proj.weight * block.ls1.gamma[:, None]
    )
    assert torch.allclose(graph["blocks.0.mlp.fc2"].params["bias"], block.mlp.fc2.bias * block.ls2.gamma)


@pytest.mark.parametrize("kind", KINDS)
def test_no_product_is_left(kind: str):
    assert not ops(prepared(kind), "mul")


def test_a_scale_of_q_becomes_a_factor_of_the_scores():
    x, wide = Node("input", "input", (), Shape((1, 4, 8))), Shape((1, 4, 4))
    q = Node("mul", "q", ("input",), Shape((1, 4, 8)), {}, {"value": torch.tensor(0.25)})
    k = Node("permute", "k", ("input",), Shape((1, 8, 4)), {"perm": (0, 2, 1)})
    graph = Graph([x, q, k, Node("matmul", "s", ("q", "k"), wide, {"alpha": 2.0})], "s")
    folded = fold_multipliers(graph)
    assert folded["s"].attrs["alpha"] == 0.5
    assert not ops(folded, "mul")
    images = torch.randn(2, 4, 8)
    assert same(evaluate(folded, images), evaluate(graph, images))


@pytest.mark.parametrize("value", [torch.tensor(3.0), torch.arange(8.0)])
def test_a_product_that_nothing_can_absorb_stays(value: torch.Tensor):
    graph = chain(
        ("layer_norm", (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8), "eps": 1e-6}),
        ("mul", (1, 6, 8), {"value": value}),
    )
    assert ops(fold_multipliers(graph), "mul")


def test_a_linear_that_something_else_reads_is_not_scaled():
    weights = {"weight": torch.randn(8, 8), "bias": torch.randn(8)}
    graph = chain(("linear", (1, 6, 8), weights), ("mul", (1, 6, 8), {"value": torch.arange(8.0)}))
    graph = Graph([*graph, Node("add", "sum", ("n0", "n1"), Shape((1, 6, 8)))], "sum")
    assert ops(fold_multipliers(graph), "mul")
    alone = Graph(list(graph)[:-1], "n1")
    assert not ops(fold_multipliers(alone), "mul")


# -- fold_prefix -------------------------------------------------------------------------------------------------------


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


# -- hoist_slices ------------------------------------------------------------------------------------------------------


def test_the_last_block_works_on_the_class_token_alone():
    graph = prepared("vit")
    for name in ("blocks.1.attn.proj", "blocks.1.norm2", "blocks.1.mlp.fc1", "blocks.1.mlp.fc2", "norm"):
        assert graph[name].shape.dims[1] == 1, name
    for name in ("blocks.1.norm1", "blocks.1.attn.qkv", "blocks.0.mlp.fc1"):  # keys and values need all tokens
        assert graph[name].shape.dims[1] == 17, name
    assert graph["blocks.1.attn.softmax"].shape.dims[-2:] == (1, 17)


@pytest.mark.parametrize("kind", ["gap", "deit_distilled", "swin"])
def test_where_more_tokens_are_read_no_row_is_dropped(kind: str):
    before = {n.name: n.shape.dims for n in captured(kind) if n.op in ("linear", "layer_norm", "softmax")}
    after = {n.name: n.shape.dims for n in prepared(kind) if n.op in ("linear", "layer_norm", "softmax")}
    before_tokens = {name: dims for name, dims in before.items() if not name.startswith(("head", "norm"))}
    assert {name: after[name] for name in before_tokens} == before_tokens


def test_a_slice_stops_where_all_rows_are_needed():
    cut = ("slice", (1, 6, 1), {"axis": 2, "start": 0, "end": 1})
    norm = ("layer_norm", (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8), "eps": 1e-6})
    graph = hoist_slices(chain(norm, cut))
    assert [node.op for node in graph] == ["input", "layer_norm", "slice"]
    cut = ("slice", (1, 1, 8), {"axis": 1, "start": 2, "end": 3})
    norm = ("layer_norm", (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8), "eps": 1e-6})
    graph = hoist_slices(chain(norm, cut))
    assert [node.op for node in graph] == ["input", "slice", "layer_norm"]


def test_rows_of_a_constant_are_a_constant():
    table = Node("constant", "table", (), Shape((1, 6, 8), None), {}, {"value": torch.randn(1, 6, 8)})
    cut = Node("slice", "cut", ("sum",), Shape((1, 1, 8)), {"axis": 1, "start": 2, "end": 3})
    added = Node("add", "sum", ("input", "table"), Shape((1, 6, 8)))
    graph = Graph([Node("input", "input", (), Shape((1, 6, 8))), table, added, cut], "cut")
    hoisted = hoist_slices(graph)
    assert sorted(node.op for node in hoisted) == ["add", "constant", "input", "slice"]
    assert ops(hoisted, "constant")[0].params["value"].shape == (1, 1, 8)
    x = torch.randn(3, 6, 8)
    assert torch.equal(evaluate(hoisted, x), evaluate(graph, x))


# -- merge_movement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_q_k_and_v_are_cut_from_one_reshape(kind: str):
    graph = prepared(kind)
    cut_first = ["slice", "slice", "reshape", "permute", "reshape"]  # where rows are cut too
    shared = 0
    for matmul in ops(graph, "matmul"):
        for name in matmul.inputs:
            if graph.root(name).op != "linear":
                continue
            steps, node = [], graph[name]
            while node.op in MOVEMENT:
                steps.insert(0, node.op)
                node = graph[node.inputs[0]]
            if steps[:3] == ["reshape", "slice", "permute"]:
                shared += 1
                assert steps[3:] in ([], ["reshape"])
                continue
            rest = iter(cut_first)
            assert all(step in rest for step in steps), steps  # in this order, each at most as often
    assert shared >= 3


def test_pieces_of_heads_tile_one_axis():
    graph = prepared("vit")
    cuts = [node for node in ops(graph, "slice") if graph[node.inputs[0]].op == "reshape"][:3]
    assert len({cut.inputs for cut in cuts}) == 1
    heads = graph[cuts[0].inputs[0]].shape.dims[2]
    edges = sorted((cut.attrs["start"], cut.attrs["end"]) for cut in cuts)
    assert {cut.attrs["axis"] for cut in cuts} == {2}
    assert edges == [(i * heads // 3, (i + 1) * heads // 3) for i in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_merging_keeps_every_value_that_is_computed(kind: str):
    before = until(kind, hoist_slices)
    after, x = merge_movement(before), images(kind, 3)
    old, new = values(before, x), values(after, x)
    kept = [n.name for n in before if n.op not in MOVEMENT]
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert sum(n.op in MOVEMENT for n in after) <= sum(n.op in MOVEMENT for n in before)


def test_movement_that_undoes_itself_is_gone():
    graph = chain(
        ("permute", (1, 8, 6), {"perm": (0, 2, 1)}),
        ("permute", (1, 6, 8), {"perm": (0, 2, 1)}),
        ("activation", (1, 6, 8), {"function": "gelu"}),
    )
    assert [node.op for node in merge_movement(graph)] == ["input", "activation"]


def test_a_roll_stays_and_what_surrounds_it_is_merged():
    graph = merge_movement(until("swin", hoist_slices))
    assert len(ops(graph, "roll")) == 2


# -- center_residual ---------------------------------------------------------------------------------------------------


def centered(kind: str) -> dict[str, bool]:
    return {n.name: bool(n.attrs.get("centered")) for n in prepared(kind) if n.op == "layer_norm"}


@pytest.mark.parametrize("kind", ["vit", "deit_distilled", "gap", "dinov2", "dinov2_reg"])
def test_in_a_vit_every_norm_reads_a_stream_without_mean(kind: str):
    assert all(centered(kind).values())
    graph = prepared(kind)
    seen = values(graph, images(kind, 3))
    for norm in ops(graph, "layer_norm"):
        stream = seen[norm.inputs[0]]
        assert stream.mean(-1).abs().max() < 1e-5 * stream.abs().max()
    written = values(until(kind, merge_movement), images(kind, 3))
    uncentred = [written[n.inputs[0]] for n in ops(until(kind, merge_movement), "layer_norm")]
    assert max(float(stream.mean(-1).abs().max()) for stream in uncentred) > 0.01


def test_a_stream_that_a_layer_norm_writes_or_a_patch_merging_reads_keeps_its_mean():
    found = centered("swin")
    stage_0 = [name for name in found if name.startswith("layers.0.") or name == "layers.1.downsample.norm"]
    assert len(stage_0) == 5
    assert not any(found[name] for name in stage_0)
    assert all(found[name] for name in found if name not in stage_0)
    graph = prepared("swin")
    assert torch.equal(
        graph["layers.0.blocks.0.attn.proj"].params["bias"], tiny("swin").layers[0].blocks[0].attn.proj.bias
    )


def test_a_stream_that_the_output_reads_keeps_its_mean():
    graph = chain(("linear", (1, 6, 8), {"weight": torch.randn(8, 8), "bias": torch.randn(8)}))
    norm = {"weight": torch.ones(8), "bias": torch.zeros(8)}
    norm_node = Node("layer_norm", "norm", ("n0",), Shape((1, 6, 8)), {"eps": 1e-6}, norm)
    both = Graph([*graph, norm_node, Node("add", "sum", ("n0", "norm"), Shape((1, 6, 8)))], "sum")
    assert not center_residual(both)["norm"].attrs.get("centered")
    alone = Graph([*graph, norm_node], "norm")
    assert center_residual(alone)["norm"].attrs["centered"]


# -- fold_normalisation ------------------------------------------------------------------------------------------------


def test_the_patch_embedding_reads_pixels():
    graph = prepared("vit")
    seen = values(graph, images("vit", 3, seed=4))
    assert graph["patch_embed.proj"].inputs == ("pixels",)
    raw = pixels("vit", 3, seed=4).permute(0, 3, 1, 2).float()
    assert (seen["pixels"] - raw).abs().max() < 1e-3


def test_normalisation_stays_where_something_else_reads_the_input():
    graph = chain(("layer_norm", (1, 6, 8), {"weight": torch.ones(8), "bias": torch.zeros(8), "eps": 1e-6}))
    assert fold_normalisation(graph, MEAN, STD) is graph


def test_a_slice_stays_behind_a_factor_of_its_own_axis():
    table = torch.arange(1.0, 5).reshape(4, 1)
    cut = {"axis": 1, "start": 1, "end": 2}
    nodes = [
        Node("input", "input", (), Shape((1, 4, 8))),
        Node("mul", "scaled", ("input",), Shape((1, 4, 8)), {}, {"value": table}),
        Node("slice", "row", ("scaled",), Shape((1, 1, 8)), cut),
    ]
    graph, x = Graph(nodes, "row"), torch.randn(2, 4, 8)
    assert torch.equal(evaluate(hoist_slices(graph), x), evaluate(graph, x))
