"""Emitted files of every kind of model: standard, integer, exact at any batch and thread count, near to float."""

import inspect
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from tiny_models import CLASSES, KINDS, images, pixels, prepared, quantized, quantized_anew, recipe, size, tiny

from mptq_export.capture.ops import Add, LayerNorm, Linear, Matmul, PatchEmbed, Softmax
from mptq_export.emit.exact import weight_storage
from mptq_export.emit.exact.context import Context, Tables
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.exact.residual import emit_add
from mptq_export.emit.exact.tables import CODES, FLOATS, TABLES
from mptq_export.emit.exact.weight_storage import store_int8, store_packed
from mptq_export.quantize.method import MINMAX
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.runtime.session import open_session
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.plan import read_kernel_plan

from .conftest import Emitted

BITS = (8, 6, 4)
INPUTS = ("float32", "uint8")
every_file = pytest.mark.parametrize(
    ("kind", "bits", "input_type"), [(kind, bits, source) for kind in KINDS for bits in BITS for source in INPUTS]
)
every_kind = pytest.mark.parametrize("kind", KINDS)


def batch(kind: str, count: int, input_type: str, seed: int = 9) -> NDArray[np.generic]:
    return (pixels if input_type == "uint8" else images)(kind, count, seed).numpy()


def logits(path: Path, x: NDArray[np.generic], threads: int = 1) -> NDArray[np.float32]:
    return open_session(path, threads=threads).run(["logits"], {"input": x})[0]


@every_file
def test_the_file_is_standard_onnx(emitted: Emitted, kind: str, bits: int, input_type: str):
    model = onnx.load(emitted(kind, bits, input_type)[0])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    (source,), (result,) = model.graph.input, model.graph.output
    channels, height, width = size(kind)
    dims = (height, width, channels) if input_type == "uint8" else (channels, height, width)
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    assert (source.name, source.type.tensor_type.elem_type) == ("input", kinds[input_type])
    assert [d.dim_param or d.dim_value for d in source.type.tensor_type.shape.dim] == ["batch", *dims]
    assert (result.name, result.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)
    assert [d.dim_param or d.dim_value for d in result.type.tensor_type.shape.dim] == ["batch", CLASSES]
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert {name for node in model.graph.node for name in node.output} <= known  # every shape is inferred


@every_file
def test_runtime_and_reference_agree_on_every_tensor(emitted: Emitted, kind: str, bits: int, input_type: str):
    path = emitted(kind, bits, input_type)[0]
    report = verify_model(path, [batch(kind, 3, input_type)], threads=1)
    assert report.passed, [(tensor.name, tensor.op, tensor.difference) for tensor in report.diverging[:3]]
    assert report.differing == 0
    assert report.values > 10_000
    assert report.plan.floating == ()
    graph = prepared(kind)
    weighted = sum(isinstance(node.op, Linear | PatchEmbed) for node in graph)
    matmuls = sum(isinstance(node.op, Matmul) for node in graph)
    softmaxes = sum(isinstance(node.op, Softmax) for node in graph)
    assert len(report.plan.matmuls) == weighted + matmuls + softmaxes  # each once, and the sums of attention codes
    assert report.plan.op_counts["QGemm"] == weighted
    assert max(kernel.pair_sum or 0 for kernel in report.plan.matmuls) <= PAIR_LIMIT


@pytest.mark.parametrize("kind", ["vit", "swin"])
@pytest.mark.parametrize("bits", BITS)
def test_extreme_inputs_are_exact_too(emitted: Emitted, kind: str, bits: int):
    shape = (1, *size(kind))
    checkers = np.indices(shape).sum(0) % 2 * 2e4 - 1e4
    inputs = [np.full(shape, value) for value in (-1e30, -1e4, 0.0, 1e4, 1e30)] + [checkers]
    report = verify_model(emitted(kind, bits)[0], [x.astype(np.float32) for x in inputs], threads=1)
    assert report.passed


@every_file
def test_an_image_has_the_same_logits_in_any_batch_and_at_any_thread_count(
    emitted: Emitted, kind: str, bits: int, input_type: str
):
    path, x = emitted(kind, bits, input_type)[0], batch(kind, 8, input_type)
    expected = logits(path, x)
    for threads in (1, 2):
        session = open_session(path, threads=threads)
        for step in (1, 3, 8):
            got = [session.run(None, {"input": x[i : i + step]})[0] for i in range(0, 8, step)]
            assert np.array_equal(np.concatenate(got), expected), (threads, step)


@every_kind
@pytest.mark.parametrize("bits", BITS)
def test_pixels_and_normalised_pixels_give_the_same_logits(emitted: Emitted, kind: str, bits: int):
    raw = logits(emitted(kind, bits, "uint8")[0], batch(kind, 8, "uint8"))
    assert np.array_equal(raw, logits(emitted(kind, bits)[0], batch(kind, 8, "float32")))


@every_kind
def test_8_bit_logits_are_those_of_the_float_model(emitted: Emitted, kind: str):
    x = batch(kind, 32, "float32")
    got, expected = logits(emitted(kind, 8, method=MINMAX)[0], x), tiny(kind)(torch.from_numpy(x)).numpy()
    for a, b in ((got, expected), (got - got.mean(0), expected - expected.mean(0))):  # also what differs among images
        assert (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b) > 0.98
    assert len({tuple(row) for row in got.tolist()}) == 32


@every_kind
def test_more_bits_are_nearer_to_float(emitted: Emitted, kind: str):
    x = batch(kind, 32, "float32")
    expected = tiny(kind)(torch.from_numpy(x)).numpy()
    errors = [np.abs(logits(emitted(kind, bits, method=MINMAX)[0], x) - expected).mean() for bits in BITS]
    assert errors == sorted(errors)


@pytest.mark.parametrize("bits", [(2, 8), (3, 8), (5, 8), (7, 8), (8, 7), (8, 5), (8, 2), (4, 8), (8, 4)])
def test_every_mix_of_widths_is_exact(tmp_path: Path, bits: tuple[int, int]):
    path = tmp_path / "m.onnx"
    onnx.save(emit(prepared("vit"), recipe("vit", bits), input_type="float32", producer="1"), path)
    assert verify_model(path, [batch("vit", 2, "float32")], threads=1).passed


@pytest.mark.parametrize("bits", range(2, 8))
def test_packed_weights_are_folded_into_the_same_integer_kernels(
    tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch
):
    packed, plain = tmp_path / "packed.onnx", tmp_path / "plain.onnx"
    monkeypatch.setattr(weight_storage, "NODE_BYTES", 0)  # else these weights are too small to be packed
    for path, store in ((packed, store_packed), (plain, store_int8)):
        context = Context(prepared("vit"), recipe("vit", (bits, 8)), TABLES, input_type="float32", store=store)
        onnx.save(context.finish("1"), path)
    assert len(onnx.load(packed).graph.node) > len(onnx.load(plain).graph.node)
    x = batch("vit", 3, "float32")
    assert verify_model(packed, [x], threads=1).passed
    assert np.array_equal(logits(packed, x), logits(plain, x))
    ops = [[kernel.op for kernel in read_kernel_plan(path).matmuls] for path in (packed, plain)]
    assert ops[0] == ops[1]


@every_kind
def test_names_carry_module_paths(emitted: Emitted, kind: str):
    gemms = {node.name for node in onnx.load(emitted(kind, 8)[0]).graph.node if node.op_type == "Gemm"}
    assert gemms == {node.name for node in prepared(kind) if isinstance(node.op, Linear | PatchEmbed)}


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_same_recipe_gives_the_same_bytes(emitted: Emitted, kind: str):
    graph, made = quantized_anew(kind, (6, 6))
    again = emit(graph, made, input_type="float32", producer="1")
    assert again.SerializeToString() == emitted(kind, 6)[0].read_bytes()


def test_the_last_block_is_emitted_for_one_token(emitted: Emitted):
    model = onnx.load(emitted("vit", 8)[0])
    values = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    assert [d.dim_value for d in values["blocks.1.attn.softmax.codes"][1:]] == [2, 1, 17]
    assert [d.dim_value for d in values["blocks.0.attn.softmax.codes"][1:]] == [2, 17, 17]


@every_kind
def test_a_centred_norm_takes_no_mean(emitted: Emitted, kind: str):
    nodes = {node.name for node in onnx.load(emitted(kind, 8)[0]).graph.node}
    for norm in (node for node in prepared(kind) if isinstance(node.op, LayerNorm)):
        assert f"{norm.name}.sum_of_squares" in nodes
        assert (f"{norm.name}.mean" in nodes) != norm.op.centered


@pytest.mark.parametrize("bits", BITS)
def test_k_and_v_are_int8_where_no_pair_of_products_saturates(emitted: Emitted, bits: int):
    path, made = emitted("vit", bits)
    kernels = [k for k in read_kernel_plan(path).matmuls if k.weight == "activation"]
    assert len(kernels) == 4
    assert {kernel.inputs for kernel in kernels} == {("uint8", "uint8" if bits == 8 else "int8")}
    pairs = [c for c in made.proof if c.layer.endswith(("scores", "context")) and c.what.startswith("int16")]
    assert len(pairs) == (0 if bits == 8 else 4)


def test_a_stream_is_snapped_by_its_additions(emitted: Emitted):
    path, made = emitted("vit", 8)
    made_by = {node.output[0]: node for node in onnx.load(path).graph.node}
    assert sum(node.op_type == "Round" for node in made_by.values()) <= 2  # tokens and positions, before the blocks
    grids = [node for name, node in made_by.items() if name.endswith(".grid") and node.op_type == "Sub"]
    assert len(grids) == 4
    assert all(made_by[node.input[0]].op_type == "Add" for node in grids)
    reach = [claim.limit for claim in made.proof if claim.what == "residual in grid steps"]
    assert reach.count(2.0**22) >= len(grids)


def test_a_stream_that_may_grow_too_far_is_snapped_by_round(tmp_path: Path):
    path = tmp_path / "m.onnx"
    tables = Tables(CODES, {**FLOATS, Add: partial(emit_add, reach=2.0)})
    context = Context(prepared("vit"), recipe("vit", (8, 8)), tables, input_type="float32")
    onnx.save(context.finish("1"), path)
    assert sum(node.op_type == "Round" for node in onnx.load(path).graph.node) >= 4
    assert verify_model(path, [batch("vit", 2, "float32")], threads=1).passed


@pytest.mark.parametrize("bits", [6, 4])
def test_attention_codes_up_to_the_maximum_need_no_clip(emitted: Emitted, bits: int):
    """Those of `best` may end below it."""
    path, _ = emitted("vit", bits, method=MINMAX)
    clips = [node.name for node in onnx.load(path).graph.node if node.op_type == "Clip"]
    assert clips
    assert not any("softmax" in name for name in clips)


def test_a_long_path_of_nodes_has_room():
    """ViTs behind a ResNet have paths that are too long for Python's own limit of nested calls."""
    graph, made = quantized("swin", method=MINMAX)
    limit = sys.getrecursionlimit()
    low = len(inspect.stack()) + 60
    sys.setrecursionlimit(low)
    try:
        emit(graph, made, input_type="float32", producer="")
        assert sys.getrecursionlimit() == low
    finally:
        sys.setrecursionlimit(limit)
