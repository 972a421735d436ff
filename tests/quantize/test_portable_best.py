"""The method of the portable form is better than min/max ranges where accelerators run, on a trained model."""

import pytest
import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.targets.table import portable_form
from mptq_export.transform.portable import portable_graph

from .helpers import digits


def lost(target: str, residual: int, method: Method) -> float:
    form = portable_form(target)
    assert form is not None
    made, seen = Portable(form, residual), digits()
    graph = portable_graph(seen.graph, "float32", form)
    calibrated = CalibratedGraph(graph, seen.stats, seen.calib)
    found, recipe = build_recipe(calibrated, lambda _layer: (8, 8), method, form=made)
    simulator = PortableSimulator.of(made.sites(found, lambda _layer: (8, 8)), recipe)
    exact = evaluate(graph.cast(torch.float32), seen.val)
    return float(divergence(graph, exact, simulator.logits(found.cast(torch.float32), seen.val)).mean())


@pytest.mark.parametrize(("target", "residual"), [("qnn", 8), ("st", 8)])
def test_best_loses_less_than_min_max_at_8_bits(target: str, residual: int):
    assert lost(target, residual, BEST) < 0.7 * lost(target, residual, MINMAX)
