"""Files obey the rules of their target, read from the ONNX alone; and each rule finds what breaks it."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from portable import made

from mptq_export.support.errors import MptqError
from mptq_export.targets.file.check import check_file, refuse_broken
from mptq_export.targets.file.table import FILE_RULES
from mptq_export.targets.table import TARGETS

QUICK = ("vit", "swin", "eva", "levit")


def test_every_target_of_the_portable_form_has_rules_with_a_source():
    assert set(FILE_RULES) == {name for name, target in TARGETS.items() if target.portable is not None}
    for rules in FILE_RULES.values():
        assert len({rule.name for rule in rules}) == len(rules)
        assert all(rule.source.startswith(("run: tests/", "read: ")) for rule in rules)


def test_what_was_only_read_about_is_marked_so():
    for name, target in TARGETS.items():
        if target.portable is not None:
            ran = any(rule.source.startswith("run: tests/runtime/") or name == "generic" for rule in FILE_RULES[name])
            assert ran == target.portable.run, name


@pytest.mark.parametrize("target", FILE_RULES)
@pytest.mark.parametrize("kind", QUICK)
def test_a_file_obeys_its_target(kind: str, target: str):
    assert check_file(made(kind, target).file, target) == []


@pytest.mark.parametrize("bits", [(4, 16), (4, 8)])
def test_a_file_of_other_widths_obeys_qnn(bits: tuple[int, int]):
    assert check_file(made("swin", "qnn", bits).file, "qnn") == []


def _node(model: onnx.ModelProto, op_type: str, at: int = 0) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == op_type][at]


def _set(node: onnx.NodeProto, **attributes: object) -> None:
    kept = [each for each in node.attribute if each.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])


def _behind(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    """The QuantizeLinear that reads a tensor."""
    return next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == tensor)


def _front(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if tensor in node.output)


def _store(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _another_domain(model: onnx.ModelProto) -> None:
    _node(model, "Softmax").domain = "com.microsoft"


def _newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 30


def _unknown_op(model: onnx.ModelProto) -> None:
    _node(model, "Softmax").op_type = "LogSoftmax"


def _free_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _many_axes(model: onnx.ModelProto) -> None:
    info = model.graph.value_info.add()
    info.CopyFrom(helper.make_tensor_value_info("many", 1, [1] * 7))


def _swapped_pieces(model: onnx.ModelProto) -> None:
    split = _node(model, "Split")
    model.graph.node.append(helper.make_node("Concat", list(reversed(split.output)), ["swapped"], "swapped", axis=1))


def _tokens_of_transposed(model: onnx.ModelProto) -> None:
    conv = _node(model, "Conv")
    model.graph.node.append(helper.make_node("Transpose", [conv.output[0]], ["nhwc"], "nhwc", perm=[0, 2, 3, 1]))
    model.graph.node.append(helper.make_node("Reshape", ["nhwc", "shape"], ["tokens"], "tokens"))
    model.graph.value_info.append(helper.make_tensor_value_info("tokens", 1, [1, 16, 32]))


def _no_codes(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "MatMul" and node.name.endswith("context")).input[0] = (
        _node(model, "Softmax").output[0]
    )


def _two_scales(model: onnx.ModelProto) -> None:
    stored = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.name.endswith("qkv.weight"))
    again = model.graph.node.add()
    again.CopyFrom(stored)
    again.name, again.output[0] = "again", "again"


def _scales_of_channels(model: onnx.ModelProto) -> None:
    quantize = _behind(model, _node(model, "Softmax").output[0])
    quantize.input[1] = _store(model, "many_scales", np.full(17, 1 / 255, np.float32))
    zero = next(t for t in model.graph.initializer if t.name == quantize.input[2])
    quantize.input[2] = _store(model, "many_zeros", np.zeros(17, numpy_helper.to_array(zero).dtype))


def _two_types(model: onnx.ModelProto) -> None:
    quantize = _behind(model, _node(model, "Softmax").output[0])
    quantize.input[2] = _store(model, "wide", np.uint16(0).reshape(()))


def _another_point(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == _node(model, "Softmax").output[0]:
            node.input[2] = _store(model, "point", np.array(7, np.uint8))


def _moved_scale(model: onnx.ModelProto) -> None:
    quantize = _behind(model, _node(model, "Transpose", 2).output[0])
    quantize.input[1] = _store(model, "other_scale", np.float32(0.5).reshape(()))


def _transposed_weight(model: onnx.ModelProto) -> None:
    _set(_node(model, "Gemm"), transB=1)


def _rows_of_weight(model: onnx.ModelProto) -> None:
    _set(_front(model, _node(model, "Gemm").input[1]), axis=0)


def _other_bias(model: onnx.ModelProto) -> None:
    bias = _front(model, _node(model, "Gemm").input[2])
    scale = next(t for t in model.graph.initializer if t.name == bias.input[1])
    bias.input[1] = _store(model, "bias_scale", numpy_helper.to_array(scale) * np.float32(1.01))


def _other_offset(model: onnx.ModelProto) -> None:
    offset = _front(model, _node(model, "LayerNormalization").input[2])
    offset.input[1] = _store(model, "offset_scale", np.float32(0.25).reshape(()))


def _wide_factor(model: onnx.ModelProto) -> None:
    zero = _front(model, _node(model, "MatMul").input[1])
    zero.input[2] = _store(model, "wide_factor", np.uint16(32768).reshape(()))


def _silent_epsilon(model: onnx.ModelProto) -> None:
    norm = _node(model, "LayerNormalization")
    kept = [each for each in norm.attribute if each.name != "epsilon"]
    del norm.attribute[:]
    norm.attribute.extend(kept)


def _erf(model: onnx.ModelProto) -> None:
    _node(model, "Gelu").op_type = "Erf"


def _long_stride(model: onnx.ModelProto) -> None:
    _set(_node(model, "Conv"), strides=[16, 16])


def _int32_bias(model: onnx.ModelProto) -> None:
    name = _store(model, "codes32", np.zeros(4, np.int32))
    scale, zero = _store(model, "s32", np.ones(4, np.float32)), _store(model, "z32", np.zeros(4, np.int32))
    model.graph.node.append(helper.make_node("DequantizeLinear", [name, scale, zero], ["b32"], "b32", axis=0))


BREAKING: list[tuple[str, str, Callable[[onnx.ModelProto], None]]] = [
    ("qnn", "domain", _another_domain),
    ("qnn", "opset", _newer_opset),
    ("qnn", "ops", _unknown_op),
    ("qnn", "shapes", _free_batch),
    ("qnn", "axes", _many_axes),
    ("qnn", "pieces", _swapped_pieces),
    ("qnn", "tokens", _tokens_of_transposed),
    ("qnn", "codes", _no_codes),
    ("generic", "codes", _no_codes),
    ("qnn", "one reader", _two_scales),
    ("qnn", "scales", _scales_of_channels),
    ("qnn", "one type", _two_types),
    ("qnn", "softmax", _another_point),
    ("qnn", "movement", _moved_scale),
    ("qnn", "gemm", _transposed_weight),
    ("qnn", "weights", _rows_of_weight),
    ("qnn", "bias", _other_bias),
    ("qnn", "norms", _other_offset),
    ("qnn", "second factor", _wide_factor),
    ("qnn", "gelu", _erf),
    ("rknn", "epsilon", _silent_epsilon),
    ("rknn", "strides", _long_stride),
    ("rknn", "gemm", _transposed_weight),
    ("tensorrt", "bias", _int32_bias),
    ("tidl", "zero points", _another_point),
    ("st", "movement", _moved_scale),
]


@pytest.mark.parametrize(("target", "rule", "breaking"), BREAKING)
def test_a_broken_file_is_refused_with_the_name_of_the_rule(
    target: str, rule: str, breaking: Callable[[onnx.ModelProto], None]
):
    model = onnx.ModelProto()
    model.CopyFrom(made("vit", target).file)
    breaking(model)
    assert rule in [broken.rule for broken in check_file(model, target)]
    with pytest.raises(MptqError, match=r"rule '.*' of --target " + target):
        refuse_broken(model, target)


@pytest.mark.parametrize(("kind", "layer"), [("deit_distilled", "head_dist"), ("maxvit", None)])
def test_4_bit_weights_of_16_bit_codes_that_were_moved_are_stored_as_bytes(kind: str, layer: str | None):
    model = onnx.ModelProto()
    model.CopyFrom(made(kind, "qnn", (4, 16)).file)
    assert check_file(model, "qnn") == []
    kinds = {each.name: each.data_type for each in model.graph.initializer if each.name.endswith(".weight.codes")}
    layer = layer or next(name for name in kinds if name.endswith("attn.qkv.weight.codes")).removesuffix(
        ".weight.codes"
    )
    assert kinds[f"{layer}.weight.codes"] == onnx.TensorProto.INT8
    assert onnx.TensorProto.INT4 in kinds.values()
    for tensor in model.graph.initializer:
        if tensor.name.startswith(f"{layer}.weight.") and tensor.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                helper.make_tensor(tensor.name, onnx.TensorProto.INT4, values.shape, values.ravel().tolist())
            )
    assert "nibbles" in [broken.rule for broken in check_file(model, "qnn")]


def test_a_file_of_another_target_breaks_rules():
    for target in FILE_RULES:
        for other in FILE_RULES:
            if {target, other} not in ({"generic", "tract"}, {target}):
                assert check_file(made("vit", other).file, target), (other, target)
