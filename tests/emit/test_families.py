"""What other families of transformers add: gates, rotations, cosine attention, mixed heads, constant queries."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import FAMILIES, captured, images, prepared, quantized, tiny

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.ops import Activation, Concat, Constant, Matmul, Product, Rotary, Softmax, Weighted
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import BEST, MINMAX
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.runtime.session import open_session
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.compare import verify_model


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_captured_graph_is_the_model(kind: str):
    x = images(kind, 3)
    with torch.no_grad():
        found, expected = evaluate(captured(kind), x), tiny(kind)(x)
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize(("bits", "method"), [(8, MINMAX), (4, BEST)])
def test_every_tensor_is_exact_and_near_the_model(tmp_path: Path, kind: str, bits: int, method: object):
    graph, recipe = quantized(kind, (bits, bits), method)  # type: ignore[arg-type]
    path = tmp_path / "model.onnx"
    model = emit(graph, recipe, input_type="float32", producer="test")
    functions = [node for node in graph if isinstance(node.op, Activation) and node.op.function != "relu"]
    assert check_tables(model) >= 256 * len(functions)
    onnx.save(model, path)
    x = images(kind, 8)
    report = verify_model(path, [x[:3].numpy()], threads=1)
    assert report.passed, [(tensor.name, tensor.op, tensor.difference) for tensor in report.diverging[:3]]
    products = sum(isinstance(node.op, Weighted | Matmul | Softmax) for node in graph)
    assert len(report.plan.matmuls) == products  # each once, and the sums of attention codes
    session = open_session(path, threads=1)
    got = session.run(None, {"input": x.numpy()})[0]
    alone = np.concatenate([session.run(None, {"input": part.numpy()})[0] for part in x.split(1)])
    assert np.array_equal(got, alone)
    with torch.no_grad():
        wanted = tiny(kind)(x).numpy()
        simulated = Simulator.of(graph, recipe).logits(graph, x).numpy()
    spread = float(np.abs(wanted - wanted.mean(0)).mean())
    assert np.abs(got - simulated).mean() < 0.35 * spread
    if bits == 8:
        assert np.abs(got - wanted).mean() < 0.35 * spread


def test_rotations_and_gates_are_single_ops():
    ops = [type(node.op) for node in prepared("eva")]
    assert ops.count(Rotary) == 4  # q and k of two blocks
    assert ops.count(Product) == 2
    assert Concat not in ops
    assert {n.op.function for n in prepared("clip") if isinstance(n.op, Activation)} == {"quick_gelu"}
    assert any(isinstance(n.op, Constant) for n in prepared("siglip"))
