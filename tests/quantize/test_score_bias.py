"""Constants on score paths: what is shifted out of their rows, and the codes of what is left."""

import math

import numpy as np
import pytest
import torch
from tiny_models import prepared

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Constant, Input, Matmul, Permute, Reshape, Softmax
from mptq_export.quantize.activations.score_bias import ScoreConstants, largest_distance
from mptq_export.transform.center_scores import center_scores

SCALE = 0.05
N = 6


def attention(*constants: np.ndarray, between: Node | None = None, extra: bool = False) -> Graph:
    """Scores [1, 2, 6, 6] of a matmul -> sums with constants -> softmax; `between` stands behind the first sum."""
    shape = Shape((1, 2, N, N))
    nodes = [
        Node(Input(), "x", (), shape),
        Node(Matmul(alpha=1.0), "scores", ("x", "x"), shape),
    ]
    last = "scores"
    for i, value in enumerate(constants):
        tensor = torch.from_numpy(np.asarray(value, np.float32))
        nodes.append(Node(Constant(), f"c{i}", (), Shape(tuple(tensor.shape), None), params={"value": tensor}))
        nodes.append(Node(Add(), f"add{i}", (last, f"c{i}"), shape))
        last = f"add{i}"
        if between is not None and i == 0:
            nodes.append(between)
            last = between.name
    nodes.append(Node(Softmax(), "softmax", (last,), shape))
    if extra:
        nodes.append(Node(Add(), "out", ("softmax", last), shape))
    return Graph(nodes, "out" if extra else "softmax")


def rows_of(graph: Graph) -> list[torch.Tensor]:
    return [node.params["value"] for node in graph if isinstance(node.op, Constant)]


def codes_of(graph: Graph, scale: float = SCALE, levels: int = 255) -> list[np.ndarray]:
    return list(ScoreConstants.of(graph, graph["softmax"]).codes(scale, levels).values())


def softmax_of(graph: Graph, scores: torch.Tensor, codes: list[np.ndarray]) -> torch.Tensor:
    total = scores + sum(torch.from_numpy(c).double() * SCALE for c in codes)
    return total.softmax(-1)


RNG = np.random.default_rng(0)
BIAS = RNG.normal(0, 2, (1, 2, N, N))


@pytest.mark.parametrize("shift", [50.0, -10_000.0, RNG.normal(0, 100, (1, 2, N, 1)), RNG.normal(0, 100, (N, 1))])
def test_a_shift_of_rows_changes_nothing(shift: float | np.ndarray):
    exact = BIAS.astype(np.float32)
    plain = codes_of(center_scores(attention(exact)))
    shifted = codes_of(center_scores(attention(exact.astype(np.float64) + shift)))
    assert len(shifted) == 1
    assert np.abs(shifted[0] - plain[0]).max() <= 1  # float32 beside 10,000 is good to 1/1000
    assert float(shifted[0].max(-1).min()) == float(shifted[0].max()) == 0
    assert largest_distance(shifted) == 255 - shifted[0].min()


def test_a_constant_that_is_the_same_along_rows_falls_away():
    graph = center_scores(attention(BIAS, np.full((1, 2, N, 1), -7.0), np.float32(3)))
    assert [node.name for node in graph if isinstance(node.op, Add)] == ["add0"]
    assert rows_of(graph)[0].amax(-1).abs().max() == 0


def test_rows_are_followed_through_movement_that_keeps_them():
    moved = Node(Reshape(), "moved", ("add0",), Shape((1, 1, 2, N, N)))
    (found,) = rows_of(center_scores(attention(BIAS + 50, between=moved)))
    assert float(found.max()) == 0


@pytest.mark.parametrize(
    "between",
    [
        Node(Permute(perm=(0, 1, 3, 2)), "moved", ("add0",), Shape((1, 2, N, N))),
        Node(Reshape(), "moved", ("add0",), Shape((1, 2, N * 2, N // 2))),
    ],
)
def test_rows_that_are_mixed_later_keep_their_constant(between: Node):
    (found,) = rows_of(center_scores(attention(BIAS + 50, between=between)))
    assert torch.equal(found, torch.from_numpy(BIAS + 50).float())


def test_a_sum_that_something_else_reads_keeps_its_constant():
    (found,) = rows_of(center_scores(attention(BIAS + 50, extra=True)))
    assert float(found.min()) > 30


def test_a_row_that_is_masked_altogether_stays_and_others_are_shifted():
    mask = np.zeros((N, N))
    mask[0], mask[1, 1:] = -np.inf, -np.inf
    mask[1:] -= 3
    (found,) = rows_of(center_scores(attention(mask)))
    assert not torch.isfinite(found[0]).any()
    assert found[1, 0] == 0
    assert not found[2:].any()


def test_codes_are_whole_steps_and_a_mask_is_silent():
    value = np.zeros((N, N))
    value[0, :5] = 0.0, -0.31, -0.09, -100.0, -2.0
    (codes,) = codes_of(attention(value))
    silent = -255 - math.ceil(math.log(4 * 255) / SCALE)
    assert codes.dtype == np.float32
    assert codes[0].tolist() == [0.0, -6.0, -2.0, silent, -40.0, 0.0]
    # from the lowest score, a masked one stays where Exp gives code 0
    assert math.exp((silent + 255) * SCALE) * 255 <= 0.25 + 1e-9


def test_what_one_constant_masks_is_not_mistaken_for_what_another_one_masks():
    # Each constant alone says that its last elements are out; together, those of the first one are the best there are.
    bias, mask = np.zeros((N, N)), np.zeros((N, N))
    bias[:, :3], mask[:, 3:] = -60.0, -100.0
    codes = codes_of(attention(bias, mask))
    total = sum(codes)[0]
    assert total[:3].tolist() == [-1200.0] * 3
    scores = torch.full((1, 2, N, N), 255 * SCALE, dtype=torch.float64)
    scores[..., :3] = 0.0  # the worst that scores can do
    assert float(softmax_of(attention(), scores, codes)[..., 3:].max()) < 1 / 1020


def test_the_distance_is_that_of_sizes_where_rows_could_not_be_shifted():
    assert largest_distance([np.array([[50.0, 60.0]]), np.array([[-3.0, 4.0]])]) == 255 + 60 + 7
    assert largest_distance([]) == 255


@pytest.mark.parametrize("kind", ["swin", "swinv2", "levit", "maxvit"])
def test_prepared_constants_have_rows_with_maximum_0(kind: str):
    graph = prepared(kind)
    found = [ScoreConstants.of(graph, node) for node in graph if isinstance(node.op, Softmax)]
    values = [value for constants in found for value in constants.values.values()]
    assert len(values) >= 3
    assert all(np.abs(value.max(-1)).max() == 0 for value in values)
