"""Matrix products of two axes where no stack of matrices is multiplied, and biases of a row each."""

from math import prod

import numpy as np
import onnx
from onnx import helper

from mptq_export.emit.sonnx.spelling import Spelling
from mptq_export.targets.file.view import DEQUANTIZE


def full_bias(node: onnx.NodeProto, spelling: Spelling) -> None:
    """The bias of a Gemm in the shape of its result.

    One that is dequantized from codes stays that: its codes are repeated, with the scales of the channels on the last
    axis, and onnxruntime takes them as the int32 bias of a QGemm as before.
    """
    bias, sizes = node.input[2], spelling.shape(node.output[0])
    maker = spelling.view.producers.get(bias)
    if spelling.shape(bias) == sizes:
        return
    if maker is None or maker.op_type != DEQUANTIZE or spelling.shape(bias) != sizes[-1:]:
        node.input[2] = spelling.expand(bias, sizes)
        return
    name = f"{bias}.{'x'.join(map(str, sizes))}"
    codes = spelling.add("Expand", [maker.input[0], spelling.onnx.shape(sizes)], f"{name}.codes")
    rows = onnx.NodeProto()
    rows.CopyFrom(maker)
    del rows.attribute[:]
    rows.attribute.append(helper.make_attribute("axis", 1))
    spelling.fill(rows)
    node.input[2] = spelling.add(DEQUANTIZE, [codes, *rows.input[1:]], name, rows)


def two_axes(node: onnx.NodeProto, spelling: Spelling) -> bool:
    """A stack of matrices times one matrix as one product of all rows; gives whether it was written so."""
    left, right = node.input
    a, b, y = (spelling.shape(name) for name in (left, right, node.output[0]))
    if len(b) != 2 or len(a) == 2:
        return False
    rows, name = [prod(a[:-1]), a[-1]], node.output[0]
    maker = spelling.view.producers.get(left)
    if maker is not None and maker.op_type == DEQUANTIZE and not spelling.shape(maker.input[1]):
        codes = reshaped(spelling, maker.input[0], rows, f"{name}.rows.codes")
        whole = onnx.NodeProto()
        whole.CopyFrom(maker)
        spelling.fill(whole)
        flat = spelling.add(DEQUANTIZE, [codes, *whole.input[1:]], f"{name}.rows", whole)
    else:
        flat = reshaped(spelling, left, rows, f"{name}.rows")
    product = spelling.add("MatMul", [flat, right], f"{name}.of_rows")
    back = helper.make_node(
        "Reshape", [product, spelling.integers(np.array(y))], [name], name=name, allowzero=0, doc_string=node.doc_string
    )
    spelling.put(back)
    return True


def same_stacks(node: onnx.NodeProto, spelling: Spelling) -> None:
    """Stacks of matrices of one shape, where ONNX would repeat one of them."""
    stacks = spelling.shape(node.output[0])[:-2]
    for place, name in enumerate(node.input):
        node.input[place] = spelling.expand(name, [*stacks, *spelling.shape(name)[-2:]])


def reshaped(spelling: Spelling, tensor: str, sizes: list[int], name: str) -> str:
    """A Reshape that says all that it can say."""
    return spelling.onnx.one("Reshape", [tensor, spelling.onnx.shape(sizes)], name, allowzero=0)
