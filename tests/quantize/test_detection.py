"""What a detector loses: the same as its formula, per object, with draws whose covariance is the second derivative."""

import math

import pytest
import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Input, Outputs
from mptq_export.quantize.objective.detection import BOXES, Detection
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.recipe.metric import MetricName
from mptq_export.recipe.outputs import Output, OutputKind

Named = dict[str, tuple[OutputKind, tuple[int, ...]]]

FCOS: Named = {
    "scores.p3": ("scores", (1, 4, 3)),
    "boxes.p3": ("boxes", (1, 4, 4)),
    "centerness.p3": ("scores", (1, 4, 1)),
    "scores.p4": ("scores", (1, 2, 3)),
    "boxes.p4": ("boxes", (1, 2, 4)),
    "centerness.p4": ("scores", (1, 2, 1)),
}
FIRST_STAGE: Named = {
    "objectness.p2": ("scores", (1, 3, 1)),
    "deltas.p2": ("boxes", (1, 3, 4)),
    "features.p2": ("map", (1, 2, 3, 1)),
    "features.p3": ("map", (1, 2, 2, 1)),
}
SET: Named = {"logits": ("choices", (1, 3, 4)), "pred_boxes": ("boxes", (1, 3, 4))}
BOX_HEAD: Named = {"scores": ("logits", (1, 3)), "deltas": ("boxes", (1, 12))}
ALL = {"fcos": FCOS, "first stage": FIRST_STAGE, "set": SET, "box head": BOX_HEAD, "boxes": {"b": ("boxes", (1, 2, 4))}}


def detection(named: Named) -> Detection:
    return Detection.of([(Output(name, kind), dims) for name, (kind, dims) in named.items()])


def outputs(named: Named, seed: int = 0, images: int = 1, shift: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [math.prod(dims) for _, dims in named.values()]
    return [shift + torch.randn(images, size, generator=generator, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("name", ALL)
def test_the_draw_has_the_hessian_as_covariance(name: str):
    named = ALL[name]
    loss, exact = detection(named), outputs(named)
    sizes = [x.shape[1] for x in exact]
    joined = torch.cat(exact, 1)
    hessian = torch.autograd.functional.hessian(
        lambda y: loss.distance(exact, list(torch.split(y, sizes, 1))).sum(), joined
    )[0, :, 0]
    # The draw is linear in its noise: its matrix comes from the unit vectors.
    count = joined.shape[1]
    units = list(torch.split(torch.eye(count, dtype=torch.float64), sizes, 1))
    root = torch.cat(loss.draw([x.expand(count, -1) for x in exact], units), 1)
    assert torch.allclose(root.T @ root, hessian, atol=1e-12)
    assert float(hessian.diagonal().abs().max()) > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_lost_where_nothing_differs(name: str):
    loss, exact = detection(ALL[name]), outputs(ALL[name], images=3)
    assert loss.distance(exact, exact).tolist() == [0] * 3
    found = loss.distance(exact, outputs(ALL[name], 1, images=3))
    assert found.shape == (3,) and bool((found > 0).all())
    # An image counts by itself, whatever lies beside it.
    alone = loss.distance([x[1:2] for x in exact], [x[1:2] for x in outputs(ALL[name], 1, images=3)])
    assert torch.allclose(alone[0], found[1])


def test_a_box_counts_as_much_as_an_object_is_seen_there():
    exact, loss = outputs(FCOS), detection(FCOS)
    exact[0].fill_(-30)
    exact[3].fill_(-30)
    exact[0][0, :3] = torch.tensor([1.0, -30, -30])
    exact[2][0, 0] = 2.0
    found = [x.clone() for x in exact]
    found[1][0, 4:] += 5  # boxes without an object
    found[4] += 5
    assert float(loss.distance(exact, found)) < 1e-3
    found[1], found[4] = exact[1].clone(), exact[4]
    found[1][0, 0] += 0.1
    believed = torch.sigmoid(torch.tensor(1.0)).mul(torch.sigmoid(torch.tensor(2.0))).sqrt().double()
    relative = 0.1**2 / exact[1][0, :4].square().sum()
    assert torch.allclose(loss.distance(exact, found), BOXES * believed * relative / (1 + believed), rtol=1e-3)


def test_what_is_seen_anew_costs_and_a_background_of_any_size_does_not():
    for count in (10, 1000):
        named: Named = {"scores.p3": ("scores", (1, count, 1)), "boxes.p3": ("boxes", (1, count, 4))}
        loss, exact = detection(named), outputs(named)
        exact[0].fill_(-9)
        exact[0][0, 0] = 2.0
        found = [x.clone() for x in exact]
        found[0][0, 1:] = -9.5
        assert float(loss.distance(exact, found)) < 1e-4
        found[0][0, 1] = 2.0  # what is not there
        assert float(loss.distance(exact, found)) > 0.9
        found[0][0, :2] = torch.tensor([-9.0, -9.0])  # what is overlooked
        assert float(loss.distance(exact, found)) > 1


def test_errors_of_boxes_are_measured_in_their_own_size():
    named: Named = {"logits": ("choices", (1, 1, 2)), "pred_boxes": ("boxes", (1, 1, 4))}
    loss, scores = detection(named), torch.tensor([[5.0, -5.0]], dtype=torch.float64)
    lost = []
    for size in (0.1, 0.4):
        exact = torch.tensor([[0.8, 0.7, size, size]], dtype=torch.float64)
        lost.append(float(loss.distance([scores, exact], [scores, exact + 0.02])))
    assert lost[0] == pytest.approx(16 * lost[1])
    scaled = {"scores": ("scores", (1, 1, 1)), "boxes": ("boxes", (1, 1, 4))}
    loss, score = detection(scaled), scores[:, :1]  # type: ignore[arg-type]
    boxes = torch.rand(1, 4, dtype=torch.float64)
    small = loss.distance([score, boxes], [score, boxes * 1.1])
    assert torch.allclose(small, loss.distance([score, 8 * boxes], [score, 8.8 * boxes]))


def test_maps_beside_the_candidates_count_by_their_mean():
    loss, exact = detection(FIRST_STAGE), outputs(FIRST_STAGE)
    found = [x.clone() for x in exact]
    found[2] *= 1.1
    assert torch.allclose(loss.distance(exact, found), torch.full((1,), 0.01 / 2).double())


def test_masks_alone_are_compared_pixel_by_pixel():
    size, generator = (1, 3, 2, 2), torch.Generator().manual_seed(0)
    nodes = [
        Node(Input(), "input", (), Shape(size)),
        Node(Outputs((Output("masks", "scores"),)), "o", ("input",), Shape((1, 12))),
    ]
    graph = Graph(nodes, "o")
    exact, found = (torch.randn(2, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    each = entropy(found, exact.sigmoid(), reduction="none") - entropy(exact, exact.sigmoid(), reduction="none")
    names: tuple[MetricName | None, ...] = ("detection", None)
    for metric in names:
        assert torch.allclose(divergence(graph, exact, found, metric), each.mean(1))
