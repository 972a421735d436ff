"""A residual is rotated where that pays, and the recipe says so."""

from dataclasses import replace

import pytest
import torch
from tiny_models import calibrated_graph, images

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import PatchEmbed
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.method import MINMAX, Method
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.recipe.schema import Recipe
from mptq_export.targets.table import portable_form
from mptq_export.transform.portable import portable_graph

QNN = portable_form("qnn")
assert QNN is not None
FORM = Portable(QNN, 8)


def bits(_layer: str) -> tuple[int, int]:
    return 8, 8


@pytest.fixture(scope="module")
def loud() -> CalibratedGraph:
    """A model whose residual has three channels that stand out."""
    seen = calibrated_graph("vit")
    graph = portable_graph(seen.graph, "float32", QNN)
    patches = next(node for node in graph if isinstance(node.op, PatchEmbed))
    params = {key: value.clone() for key, value in patches.params.items()}
    params["weight"][[3, 5, 17]] *= 40
    return seen.of_graph(graph.updated({patches.name: replace(patches, params=params)}))


def error(calibrated: CalibratedGraph, method: Method) -> tuple[float, Graph, Recipe]:
    graph, recipe = build_recipe(calibrated, bits, method, form=FORM)
    probe = images("vit", 8, seed=7)
    found = PortableSimulator.of(FORM.sites(graph, bits), recipe).logits(graph.cast(torch.float32), probe)
    exact = evaluate(calibrated.graph.cast(torch.float32), probe)
    return float((found - exact).square().mean()), graph, recipe


def test_channels_that_stand_out_are_rotated_and_cost_less(loud: CalibratedGraph):
    before, _, plain = error(loud, MINMAX)
    after, graph, recipe = error(loud, replace(MINMAX, rotated_residual=True))
    assert plain.rotations == {}
    assert list(recipe.rotations) == ["blocks.0.norm1"]
    assert after < 0.3 * before
    probe = images("vit", 2, seed=7).double()
    expected = evaluate(loud.graph.cast(torch.float64), probe)
    torch.testing.assert_close(evaluate(graph.cast(torch.float64), probe), expected, rtol=1e-6, atol=1e-6)


def test_the_same_images_give_the_same_rotation(loud: CalibratedGraph):
    method = replace(MINMAX, rotated_residual=True)
    first, second = (FORM.transformed(loud, bits, method)[1]["blocks.0.norm1"] for _ in range(2))
    assert (first == second).all()


def test_the_exact_form_is_not_rotated():
    method = replace(MINMAX, rotated_residual=True)
    graph, recipe = build_recipe(calibrated_graph("vit"), bits, method, form=EXACT)
    assert recipe.rotations == {}
    assert graph is calibrated_graph("vit").graph
