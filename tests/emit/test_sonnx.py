"""The exact form spelled out: the same bits and kernels as the plain file, and no rule of the profile broken."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_models import quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.sonnx.run import spelled_out
from mptq_export.export.profiled import check_profiled
from mptq_export.profile.check import check_profile, refuse_broken_profile
from mptq_export.recipe.settings import WeightStorage
from mptq_export.runtime.graph_input import declared_input
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from mptq_export.verify.inputs.sets import InputSet, probe_sources
from mptq_export.verify.kernels.plan import read_kernel_plan

from .conftest import Emitted

#: What every one of these files needs: nothing else is excepted.
NEEDED = {"Gelu", "ReduceMax", "Round", "packed weights", "stacked products", "codes of a byte", "scales of channels"}


def both(kind: str, bits: int, batch: int, storage: WeightStorage = "int8") -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The plain model and what it is spelled out as."""
    graph, recipe = quantized(kind, (bits, bits))
    plain = emit(graph, recipe, input_type="float32", producer="1", storage=storage)
    spelled = spelled_out(plain, batch)
    for end in (*spelled.graph.input, *spelled.graph.output):
        end.doc_string = "said by the export"
    return plain, spelled


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def inputs(model: onnx.ModelProto) -> InputSet:
    return InputSet(probe_sources(model, 1, 0, 1), declared_input(model))


@pytest.mark.parametrize(
    ("kind", "bits", "batch"),
    [
        ("vit", 8, 1),
        ("vit", 3, 2),  # regions: sums of two regions, clipped codes, peaks behind a Clip
        ("swin", 8, 2),  # windows, biases on scores, a mean of tokens
        ("siglip", 8, 2),  # a stored query, which ONNX repeats for every image
        ("rms_norm", 8, 1),  # pieces of a Split that nobody reads
        ("visformer", 8, 1),  # convolutions, whose transpositions onnxruntime takes through a Reshape
    ],
)
def test_the_same_bits_and_kernels_and_no_rule_is_broken(kind: str, bits: int, batch: int, tmp_path: Path):
    plain, spelled = both(kind, bits, batch)
    path = saved(spelled, tmp_path / "s.onnx")
    beside = check_profiled(spelled, plain, path, inputs(spelled), "s.onnx")
    assert beside.plain.differing == 0 and beside.plain.values > 10_000
    assert set(beside.exceptions) <= NEEDED - {"packed weights"}
    assert verify_model(path, inputs(spelled)).exact
    kernels = [
        Counter(kernel.op for kernel in read_kernel_plan(each).matmuls)
        for each in (path, saved(plain, tmp_path / "p.onnx"))
    ]
    assert kernels[0] == kernels[1]


def test_packed_weights_are_an_exception_of_their_own(tmp_path: Path):
    plain, spelled = both("vit", 3, 1, "packed")
    path = saved(spelled, tmp_path / "s.onnx")
    found = check_profiled(spelled, plain, path, inputs(spelled), "s.onnx")
    assert "packed weights" in found.exceptions
    assert verify_model(path, inputs(spelled)).exact


def test_bit_operations_on_what_is_computed_are_no_exception():
    _, spelled = both("vit", 3, 1, "packed")
    codes = next(node.output[0] for node in spelled.graph.node if node.op_type == "QuantizeLinear")
    spelled.graph.node.append(onnx.helper.make_node("BitwiseAnd", [codes, codes], ["kept"], name="kept"))
    (rule,) = (rule for rule in check_profile(spelled).broken if rule.rule.name == "O1")
    assert [finding.place for finding in rule.broken] == ["kept"]


def test_another_number_is_found(tmp_path: Path):
    """One bit of one constant: the rules hold, and the file is not the plain one."""
    plain, spelled = both("vit", 8, 1)
    constant = next(
        each for each in spelled.graph.initializer if each.data_type == onnx.TensorProto.FLOAT and each.dims
    )
    values = numpy_helper.to_array(constant).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(np.inf))
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    path = saved(spelled, tmp_path / "s.onnx")
    with pytest.raises(MptqError, match=r"s.onnx was not written: \d+ of [\d,]+ values differ"):
        check_profiled(spelled, plain, path, inputs(spelled), "s.onnx")


def test_a_plain_file_is_refused_by_the_name_of_the_first_rule(emitted: Emitted):
    path, _ = emitted("vit", 8)
    with pytest.raises(MptqError, match=r"rule F4 of --profile sonnx .*; leave --profile out"):
        refuse_broken_profile(onnx.load(path))


def test_the_same_model_is_spelled_out_in_the_same_bytes():
    first, again = (both("swin", 8, 2)[1].SerializeToString(deterministic=True) for _ in range(2))
    assert first == again
