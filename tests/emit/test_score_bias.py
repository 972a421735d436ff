"""A position bias that is shifted as a whole, or row by row, gives the file of the bias that is not."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import MEAN, STD, images, tiny
from torch import nn

from mptq_export.calibrate.statistics import collect
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Softmax
from mptq_export.capture.run import capture
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.activations.score_bias import ScoreConstants, largest_distance
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import MINMAX
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import Recipe
from mptq_export.runtime.session import open_session
from mptq_export.transform.prepare import prepare
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model

IMAGES = images("swin", 16, 1)


def shifted(by: str) -> nn.Module:
    """The tiny Swin with its position biases (and its mask) shifted."""
    model = deepcopy(tiny("swin"))
    generator = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        if name.endswith(".attn"):
            table = module.relative_position_bias_table
            table += {"+50": 50.0, "-10000": -10_000.0}.get(by, 0.0)
        mask = getattr(module, "attn_mask", None)
        if by == "rows" and mask is not None and name.startswith("layers"):
            mask += (30 * torch.randn(*mask.shape[:2], 1, generator=generator)).round()
    return model


def exported(by: str, folder: Path) -> tuple[Graph, Recipe, Path]:
    graph = prepare(capture(shifted(by), (3, 32, 32)), IMAGES[:2], (MEAN, STD))
    stats = collect(graph, [IMAGES.numpy()])
    graph, recipe = build_recipe(
        CalibratedGraph(graph, stats, IMAGES),
        lambda _layer: (8, 8),
        MINMAX,
    )
    model = emit(graph, recipe, input_type="float32", producer="1")
    check_tables(model)
    path = folder / f"{by}.onnx"
    onnx.save(model, path)
    return graph, recipe, path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Logits of the file of the model as it is."""
    path = exported("none", tmp_path_factory.mktemp("plain"))[2]
    logits: np.ndarray = open_session(path, threads=1).run(None, {"input": IMAGES.numpy()})[0]
    return logits


@pytest.mark.parametrize(("by", "close"), [("+50", 0.02), ("-10000", 0.1), ("rows", 0.02)])
def test_the_file_is_that_of_the_model_without_the_shift(tmp_path: Path, plain: np.ndarray, by: str, close: float):
    graph, recipe, path = exported(by, tmp_path)
    assert verify_model(path, [IMAGES[:2].numpy()], threads=1).passed
    found = open_session(path, threads=1).run(None, {"input": IMAGES.numpy()})[0]
    spread = float(np.abs(plain - plain.mean(0)).mean())
    assert np.abs(found - plain).mean() < close * spread
    with torch.no_grad():
        wanted = shifted(by)(IMAGES).numpy()
        simulated = Simulator.of(graph, recipe).logits(graph, IMAGES).numpy()
    assert np.abs(wanted - plain).mean() < 0.35 * spread
    assert np.abs(found - simulated).mean() < 0.05 * spread


@pytest.mark.parametrize("by", ["none", "+50"])
def test_the_mantissa_is_proved_for_the_largest_size_of_a_score(tmp_path: Path, by: str):
    graph, recipe, _ = exported(by, tmp_path)
    claims = {c.layer: c for c in recipe.proof if c.what == "score codes times mantissa"}
    for node in (node for node in graph if isinstance(node.op, Softmax)):
        scale = recipe.activations[f"{node.name}.input"].scale
        codes = ScoreConstants.of(graph, node).codes(scale, 255)
        numerator, _ = scale.as_integer_ratio()
        odd = numerator // (numerator & -numerator)
        largest = 255 + sum(float(np.abs(values).max()) for values in codes.values())
        assert claims[node.name].value == odd * largest_distance(codes.values()) >= odd * largest
        assert claims[node.name].value <= claims[node.name].limit == 2**24
