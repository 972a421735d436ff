"""Codes at their own width in the file, and whole again when it is loaded."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mptq_export.emit.builder import OnnxBuilder, value_info
from mptq_export.emit.exact.weight_storage import MOST_NODES, STORAGES, pack_bits, store_packed
from mptq_export.runtime.session import open_session


def stored(codes: np.ndarray, bits: int, storage: str = "packed") -> tuple[onnx.ModelProto, int]:
    """A model that returns its weight, and the bytes of its initializers."""
    builder = OnnxBuilder()
    weight = STORAGES[storage](builder, "w", codes, bits)
    outputs = [helper.make_tensor_value_info("out", TensorProto.INT8, codes.shape)]
    builder.nodes.append(helper.make_node("Identity", [weight], ["out"]))
    size = sum(len(tensor.raw_data) for tensor in builder.initializers.values())
    return builder.model([value_info("unused", TensorProto.FLOAT, [1])], outputs, "1"), size


def codes_of(bits: int, shape: tuple[int, int]) -> np.ndarray:
    high = 2 ** (bits - 1) - 1
    codes = np.random.default_rng(0).integers(-high - 1, high + 1, shape).astype(np.int8)
    codes.flat[:2] = -high - 1, high
    return codes


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(256, 384), (257, 383), (101, 1003)])
def test_packed_codes_come_back_and_take_their_bits(tmp_path: Path, bits: int, shape: tuple[int, int]):
    codes = codes_of(bits, shape)
    model, size = stored(codes, bits)
    assert codes.size * bits / 8 <= size <= codes.size * bits / 8 + 128
    onnx.save(model, tmp_path / "w.onnx")
    got = open_session(tmp_path / "w.onnx").run(["out"], {"unused": np.zeros(1, np.float32)})[0]
    assert got.dtype == np.int8
    assert np.array_equal(got, codes)


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("shape", [(256, 384), (257, 383)])
def test_few_nodes_unpack_and_none_makes_a_shape_of_its_values(bits: int, shape: tuple[int, int]):
    model, _ = stored(codes_of(bits, shape), bits)
    assert len(model.graph.node) - 1 <= MOST_NODES[bits]
    # A 1-D value would be taken for a shape by shape inference, which needs 100 bytes an element.
    assert all(len(value.type.tensor_type.shape.dim) > 1 for value in model.graph.value_info)


@pytest.mark.parametrize("bits", range(2, 8))
def test_int8_storage_and_small_weights_take_a_byte_a_code(bits: int):
    assert stored(codes_of(bits, (128, 256)), bits, "int8")[1] == 128 * 256
    assert stored(codes_of(bits, (2, 4)), bits)[1] == 8


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("shape", [(8, 16), (32, 64), (64, 96), (128, 128)])
def test_packing_never_makes_a_file_larger(bits: int, shape: tuple[int, int]):
    sizes = [len(stored(codes_of(bits, shape), bits, s)[0].SerializeToString()) for s in ("packed", "int8")]
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_weight_that_is_asked_for_twice_is_stored_once(bits: int):
    builder, codes = OnnxBuilder(), codes_of(bits, (256, 384))
    first = store_packed(builder, "w", codes, bits)
    nodes, initializers = len(builder.nodes), len(builder.initializers)
    assert store_packed(builder, "w", codes, bits) == first
    assert (len(builder.nodes), len(builder.initializers)) == (nodes, initializers)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_value_has_its_own_bits(width: int, interleaved: bool):
    values = np.random.default_rng(0).integers(0, 2**width, 21).astype(np.uint8)
    packed = pack_bits(values, width, interleaved=interleaved)
    count = 8 // width
    pieces = np.stack([packed >> (width * i) & (2**width - 1) for i in range(count)])
    flat = pieces.T.ravel() if interleaved else pieces.ravel()
    assert np.array_equal(flat[:21], values)
    assert not flat[21:].any()
