"""Weight codes with regions in the file: numbers of core levels, and outliers by position."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from kernels_ref import Interpreter
from mptq_export.emit.builder import OnnxBuilder, value_info
from mptq_export.emit.exact.weight_outliers import Outliers
from mptq_export.emit.exact.weight_storage import STORAGES, stored_bytes
from mptq_export.quantize.weights.weight_regions import CORES, SHIFTS
from mptq_export.recipe.schema import WeightQuant, WeightRegions
from mptq_export.recipe.weight_levels import LARGEST, outliers, reachable, split_codes
from mptq_export.runtime.session import open_session
from mptq_export.targets.min_onnxruntime import oldest_onnxruntime


def in_regions(
    bits: int, shape: tuple[int, int], share: float, *, core: int = -1, places: list[int] | None = None
) -> WeightQuant:
    """Random codes [N, K], a share of them outliers, or those at flat places of the transposed codes."""
    rng = np.random.default_rng(bits)
    regions = WeightRegions(CORES[bits][core], SHIFTS[bits])
    flat = rng.choice(regions.levels, (shape[1], shape[0])).astype(np.int8)
    if places is None:
        places = np.flatnonzero(rng.random(flat.size) < share).tolist()
    flat.flat[places] = rng.choice([code for code in reachable(regions) if code not in regions.levels], len(places))
    ones = np.ones(shape[0], np.float32)
    return WeightQuant(np.ascontiguousarray(flat.T), ones, ones, bits, "narrow", "", regions)


def stored(quant: WeightQuant, storage: str = "packed", kernel: tuple[int, int] | None = None) -> onnx.ModelProto:
    """A model that returns its weight, [K, N], or the kernels of a convolution."""
    builder, codes = OnnxBuilder(), quant.codes.T.copy()
    if kernel is not None:
        codes = quant.codes.reshape(len(quant.codes), *kernel, -1).transpose(0, 3, 1, 2).copy()
    weight = STORAGES[storage](builder, "w", codes, quant.bits, quant.regions)
    builder.nodes.append(helper.make_node("Identity", [weight], ["out"]))
    outputs = [helper.make_tensor_value_info("out", TensorProto.INT8, codes.shape)]
    return builder.model([value_info("unused", TensorProto.FLOAT, [1])], outputs, "1")


def both_readings(model: onnx.ModelProto, path: Path) -> list[np.ndarray]:
    """What onnxruntime and kernels_ref make of it."""
    onnx.save(model, path)
    feeds = {"unused": np.zeros(1, np.float32)}
    return [open_session(path).run(["out"], feeds)[0], Interpreter(model).run(feeds)["out"]]


@pytest.mark.parametrize("bits", CORES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
@pytest.mark.parametrize(("shape", "core"), [((128, 192), 0), ((101, 203), 1), ((96, 211), 2), ((200, 137), 3)])
def test_codes_come_back(tmp_path: Path, bits: int, share: float, shape: tuple[int, int], core: int):
    quant = in_regions(bits, shape, share, core=core)
    assert outliers(quant).any() == (share > 0)
    for found in both_readings(stored(quant), tmp_path / "w.onnx"):
        assert found.dtype == np.int8
        assert np.array_equal(found, quant.codes.T)


@pytest.mark.parametrize(
    "places",
    [[0], [1], [254], [255], [256], [39_999], [0, 255], [0, 256], [0, 510, 511], [3, 4, 5, 20_000], [255, 510, 1021]],
)
def test_outliers_at_any_distance_come_back(tmp_path: Path, places: list[int]):
    quant = in_regions(3, (200, 200), 0.0, places=places)
    assert np.flatnonzero(outliers(quant).T).tolist() == places
    for found in both_readings(stored(quant), tmp_path / "w.onnx"):
        assert np.array_equal(found, quant.codes.T)


def test_a_way_longer_than_a_byte_goes_over_elements_that_stay():
    payload = np.zeros(2000, np.int8)
    payload[[0, 255, 511, 1999]] = 1, -8, 7, 2
    found = Outliers.of(payload, 3)
    assert found.distances.tolist() == [0, 255, 255, 1, 255, 255, 255, 255, 255, 213]
    assert found.payloads.tolist() == [1, -8, 0, 7, 0, 0, 0, 0, 0, 2]
    odd = Outliers.of(payload[:600], 3)
    assert (odd.distances.tolist(), odd.payloads.tolist()) == ([0, 255, 255, 1], [1, -8, 0, 7])
    one = Outliers.of(payload[:9], 3)
    assert (one.distances.tolist(), one.payloads.tolist()) == ([0, 0], [1, 0])
    assert Outliers.of(np.zeros(9, np.int8), 3).stored == 0


def test_kernels_of_a_convolution_come_back(tmp_path: Path):
    quant = in_regions(3, (64, 9 * 32), 0.02)
    expected = quant.codes.reshape(64, 3, 3, 32).transpose(0, 3, 1, 2)
    for found in both_readings(stored(quant, kernel=(3, 3)), tmp_path / "w.onnx"):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("bits", CORES)
def test_onnxruntime_folds_all_of_it(tmp_path: Path, bits: int):
    onnx.save(stored(in_regions(bits, (128, 192), 0.01)), tmp_path / "w.onnx")
    made = ort.SessionOptions()
    made.optimized_model_filepath, made.log_severity_level = str(tmp_path / "folded.onnx"), 3
    ort.InferenceSession(tmp_path / "w.onnx", made, providers=["CPUExecutionProvider"])
    assert {node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node} <= {"Identity"}


@pytest.mark.parametrize("bits", CORES)
@pytest.mark.parametrize("share", [0.0, 0.005, 0.02])
def test_the_bytes_are_what_they_are_said_to_be(bits: int, share: float):
    for shape in ((4, 8), (64, 64), (256, 384)):
        quant = in_regions(bits, shape, share)
        model, plain = stored(quant), stored(quant, "int8")
        shared = (100 if bits == 3 else 256 * 8 // bits) + 600 * bool(share)
        empty = stored(in_regions(bits, (1, 1), 0.0)).ByteSize() + shared
        said = stored_bytes(quant)
        assert model.ByteSize() <= plain.ByteSize()
        assert model.ByteSize() - empty <= said <= model.ByteSize() + 2500


def test_an_outlier_takes_little_more_than_twelve_bits():
    some = in_regions(3, (512, 512), 0.01)
    sizes = [sum(len(t.raw_data) for t in stored(q).graph.initializer) for q in (some, in_regions(3, (512, 512), 0.0))]
    shared = 512  # a table
    assert 12 < 8 * (sizes[0] - sizes[1] - shared) / outliers(some).sum() < 13.5


@pytest.mark.parametrize("bits", CORES)
def test_no_runtime_has_to_know_types_of_4_bits(bits: int):
    assert oldest_onnxruntime(stored(in_regions(bits, (256, 384), 0.01))) == "1.20"


def test_int8_storage_takes_a_byte_a_code():
    quant = in_regions(2, (128, 256), 0.01)
    model = stored(quant, "int8")
    assert [len(tensor.raw_data) for tensor in model.graph.initializer] == [128 * 256]


@pytest.mark.parametrize("bits", CORES)
def test_every_code_that_can_be_reached_is_taken_apart_and_put_together(bits: int):
    for levels in CORES[bits]:
        regions = WeightRegions(levels, SHIFTS[bits])
        codes = np.array(reachable(regions), np.int8)
        number, payload = split_codes(codes, regions)
        assert np.array_equal(np.array(levels)[number] + (payload.astype(int) << SHIFTS[bits]), codes)
        assert np.abs(codes).max() <= LARGEST
        assert np.array_equal(payload != 0, (codes < levels[0]) | (codes > levels[-1]))


def test_a_code_that_is_no_level_is_refused():
    with pytest.raises(ValueError, match="neither a core level"):
        split_codes(np.array([[1, 2], [3, -3]], np.int8), WeightRegions((-3, -1, 1, 3)))
