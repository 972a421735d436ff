"""Norms that subtract a mean: the variance of whole numbers is never negative, wherever they lie."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from kernels_ref import Interpreter
from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Input, LayerNorm
from mptq_export.emit.builder import FLOAT, value_info
from mptq_export.emit.exact.context import Context, Tables
from mptq_export.emit.exact.tables import FLOATS
from mptq_export.emit.exact.values import Floats
from mptq_export.quantize.simulation.exact_sums import grid_norm
from mptq_export.recipe.schema import Claim, Recipe
from mptq_export.runtime.session import open_session

EXPONENT = 3
EPS = 1e-6


def norm_of(width: int) -> Node:
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.randn(width, generator=generator) for name in ("weight", "bias")}
    return Node(LayerNorm(eps=EPS), "norm", ("stream",), Shape((1, width)), params)


def emitted(width: int, bound: float) -> tuple[onnx.ModelProto, Floats, list[Claim]]:
    """A file of one norm: whole float32 `stream` [rows, width] to `norm`."""
    stream = Node(Input(), "stream", (), Shape((1, width)))
    graph = Graph([stream, norm_of(width)], "norm")
    source = Floats(tensor="stream", exponent=EXPONENT, bound=bound, integer=True, flat=True)
    tables = Tables({}, {**FLOATS, Input: lambda _context, _node, _exponent: source})
    context = Context(graph, Recipe({}, {}, {}, {"stream": EXPONENT}), tables, input_type="float32")
    result = context.read_floats("norm", 0)
    shape = [-1, width]
    model = context.onnx.model([value_info("stream", FLOAT, shape)], [value_info(result.tensor, FLOAT, shape)], "1")
    return model, result, context.proof.claims


def hard_rows(width: int, bound: int) -> NDArray[np.float32]:
    """Constant rows, rows with one element that is another one, and noise, all near both ends and in the middle."""
    rng = np.random.default_rng(0)
    rows = []
    for base in (0, 1, 3, bound // 3, bound - 4, 4 - bound, -bound // 7):
        rows += [np.full(width, base + n) for n in range(-1, 3)]
        for step in (1, -1, 2):
            row = np.full(width, base)
            row[rng.integers(width)] += step
            rows.append(row)
        rows += [base + rng.integers(-1, 2, width), np.where(np.arange(width) % 2, base, base + 1)]
        rows.append(np.clip(base + rng.integers(-1000, 1000, width), -bound, bound))
    return np.stack([*rows, rng.integers(-bound, bound + 1, width)]).astype(np.float32)


def exact_norm(row: NDArray[np.float32], node: Node) -> NDArray[np.float64]:
    whole = [int(v) for v in row]
    mean = Fraction(sum(whole), len(whole))
    variance = sum((v - mean) ** 2 for v in whole) / len(whole)
    deviation = float(variance + Fraction(EPS) * 4**EXPONENT) ** 0.5
    unit = np.array([float(v - mean) / deviation for v in whole])
    return unit * node.params["weight"].double().numpy() + node.params["bias"].double().numpy()


@pytest.mark.parametrize(
    ("width", "bound"), [(16, 2**22), (768, 2**20), (3, 2**22), (500, 4_244_000), (600, 3_874_000)]
)
def test_the_variance_is_never_negative_and_keeps_its_digits(width: int, bound: int):
    model, result, claims = emitted(width, bound)
    rows, node = hard_rows(width, bound), norm_of(width)
    traced = Interpreter(model).run({"stream": rows}, trace=True)
    assert (traced["norm.variance"] >= 0).all()
    constant = rows.min(1) == rows.max(1)
    assert ((traced["norm.variance"][:, 0] == 0) == constant).all()
    assert (traced["norm.variance"][~constant] >= 0.49).all()
    expected = np.stack([exact_norm(row, node) for row in rows])
    # the mean is subtracted in float32
    error = 1e-5 + bound * 2.0**-24 * np.abs(node.params["weight"].numpy()).max() * width**0.5
    assert np.abs(traced["norm"] - expected).max() <= error
    assert np.abs(traced["norm"]).max() <= result.bound
    assert {claim.what for claim in claims} == {"float64 sum of squares", "rounding of a variance"}


@pytest.mark.parametrize(("width", "bound"), [(16, 2**22), (600, 3_874_000)])
def test_onnxruntime_kernels_ref_and_the_simulation_agree(width: int, bound: int, tmp_path):
    model, _, _ = emitted(width, bound)
    rows = hard_rows(width, bound)
    expected = Interpreter(model).run({"stream": rows})["norm"]
    onnx.save(model, tmp_path / "norm.onnx")
    (got,) = open_session(tmp_path / "norm.onnx", threads=1).run(None, {"stream": rows})
    assert np.array_equal(got, expected)
    assert np.isfinite(got).all()
    simulated = grid_norm(norm_of(width), torch.from_numpy(rows) * 2.0**-EXPONENT, EXPONENT).numpy()
    assert np.array_equal(simulated, expected)
