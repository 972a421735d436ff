"""Are the kernels that onnxruntime runs those that `kernels_ref` computes, at the same places?

Equal values on some inputs do not show it: a float product may round to the codes of an integer one most of the time.
Both graphs' tensors are numbered by what they are made of (`value_numbering`), and every kernel of onnxruntime's
optimised graph must have a number that one of `kernels_ref` has.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kernels_ref import Kernel
from mptq_export.support.errors import MptqError
from mptq_export.verify.kernels.value_numbering import MOVES, SELECTS, Number, ValueNumbering, as_unsigned, digest

Array = NDArray[Any]
_MOST_AXES = 4
_FLOAT = int(onnx.TensorProto.FLOAT)


#: Kernels whose results are defined by no specification, and why.
_UNDEFINED = {
    "MatMulNBits": "rounds the activations in blocks of its own before it multiplies",
}


def refuse_undefined(optimised: onnx.ModelProto, path: Path) -> None:
    """Refuse a file of whose kernels one computes what nothing defines.

    Raises:
        MptqError: it holds weights that onnxruntime multiplies with floats in a way of its own.
    """
    for node in optimised.graph.node:
        if node.op_type in _UNDEFINED:
            raise MptqError(
                f"onnxruntime runs {path} with {node.op_type} for {node.output[0]}, which {_UNDEFINED[node.op_type]}: "
                "there are no bits to verify; quantize the activations in the file too"
            )


def _is_fixed(model: onnx.ModelProto) -> bool:
    """Whether every size of every input is a number."""
    sizes = (size for each in model.graph.input for size in each.type.tensor_type.shape.dim)
    return all(size.HasField("dim_value") for size in sizes)


class ReferenceKernels:
    """What `kernels_ref` computes of a file, numbered; small enough to keep when the file itself is let go.

    Args:
        model: the file.
        kernels: the kernels of `kernels_ref`.
        wherever: movement is not told apart (see `ValueNumbering`). So is a file looked at again whose sizes are all
            fixed, where the two disagree otherwise.
    """

    def __init__(self, model: onnx.ModelProto, kernels: Sequence[Kernel], *, wherever: bool = False) -> None:
        again = not wherever and _is_fixed(model)
        self._again = ReferenceKernels(model, kernels, wherever=True) if again else None
        self._numbering = ValueNumbering(wherever=wherever)
        self._places: dict[str, Number] = {}
        self._stored: set[str] = set()
        self._ops: dict[int, str] = {}
        self._constants: set[bytes] = set()
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            self._places[tensor.name] = self._numbering.constant(value)
            self._stored.add(tensor.name)
            self._remember(value)
        for kernel in kernels:
            self._add(kernel)

    def disagreements(self, optimised: onnx.ModelProto) -> tuple[str, ...]:
        """What onnxruntime runs otherwise, a sentence each; empty where the two agree.

        Args:
            optimised: onnxruntime's optimised graph.
        """
        numbers: dict[str, Number] = {}
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in optimised.graph.initializer}
        for name, value in values.items():
            # A name proves nothing of a constant: it counts by its values. What kernels_ref computes and onnxruntime
            # folded keeps its place: `compare` holds its values against the computed ones.
            numbers[name] = self._places[name] if self._is_computed(name) else self._numbering.constant(value)
        found: list[str] = []
        for node in optimised.graph.node:
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            inputs = [self._input(name, numbers) for name in node.input]
            made = self._numbering.of(node.op_type, inputs, attributes)
            if node.op_type not in MOVES | SELECTS and made.base not in self._ops:
                made = next((m for m in self._in_parts(node.op_type, inputs) if m.base in self._ops), made)
                if made.base not in self._ops:
                    found.append(self._disagreement(node))
            for index, name in enumerate(node.output):
                if name:
                    numbers[name] = self._places.get(name, self._numbering.output(made, index))
            found += [
                f"onnxruntime made {name} ({values[name].dtype}, {list(values[name].shape)}) for {node.op_type} of "
                f"{node.output[0]}: the file has no such constant"
                for name in node.input
                if name in values and not self._is_computed(name) and not self._holds(values[name])
            ]
        if found and self._again is not None:
            return self._again.disagreements(optimised)
        return tuple(dict.fromkeys(found))

    def _add(self, kernel: Kernel) -> None:
        value = kernel.attributes.get("value")
        if kernel.op == "Constant" and isinstance(value, np.ndarray):
            self._places[kernel.outputs[0]] = self._numbering.constant(value)
            self._stored.add(kernel.outputs[0])
            self._remember(value)
            return
        inputs = [
            None
            if x is None
            else (self._places.get(x) or self._numbering.named(x))
            if isinstance(x, str)
            else self._numbering.constant(x)
            for x in kernel.inputs
        ]
        made = self._numbering.of(kernel.op, inputs, kernel.attributes)
        self._ops.setdefault(made.base, kernel.op)
        for index, name in enumerate(kernel.outputs):
            if name:
                self._places[name] = self._numbering.output(made, index)

    def _is_computed(self, name: str) -> bool:
        """Whether a tensor is what a kernel of `kernels_ref` gives, and no constant that the file holds."""
        return name in self._places and name not in self._stored

    def _input(self, name: str, numbers: Mapping[str, Number]) -> Number | None:
        if not name:
            return None
        return numbers.get(name) or self._places.get(name) or self._numbering.named(name)

    def _in_parts(self, op: str, inputs: list[Number | None]) -> Iterator[Number]:
        """A kernel of `com.microsoft` as the ops that it stands for: it rounds as they do, one after the other."""
        of = self._numbering.of
        padded = [*inputs, *[None] * 7]
        if op == "DynamicQuantizeMatMul":
            codes = of("DynamicQuantizeLinear", padded[:1], {})
            found, middle = (self._numbering.output(codes, index) for index in (1, 2))
            padded = [codes, padded[1], found, padded[2], middle, *padded[3:5]]
        elif op != "MatMulIntegerToFloat":
            return
        a, w, scale, scale_w, zero, zero_w, bias = padded[:7]
        product = of("Cast", [of("MatMulInteger", [a, w, zero, zero_w], {})], {"to": _FLOAT})
        real = of("Mul", [product, of("Mul", [scale, scale_w], {})], {})
        yield real if bias is None else of("Add", [real, bias], {})

    def _disagreement(self, node: onnx.NodeProto) -> str:
        place = next((self._places[name] for name in node.output if name in self._places), None)
        here = self._ops.get(place.base) if place is not None else None
        ours = (
            "kernels_ref has no such kernel"
            if here is None
            else f"kernels_ref computes {here} there"
            if here != node.op_type
            else "kernels_ref gives it other inputs"
        )
        return f"onnxruntime runs {node.op_type} for {node.output[0]}; {ours}"

    def _remember(self, value: Array) -> None:
        value = as_unsigned(value)
        self._constants.add(digest(value))
        if 1 < value.ndim <= _MOST_AXES:
            self._constants.update(digest(value.transpose(axes)) for axes in permutations(range(value.ndim)))

    def _holds(self, value: Array) -> bool:
        """Whether the file has a constant of these values, whatever its shape or the order of its axes."""
        if value.dtype.kind not in "fiu" or value.dtype.itemsize > 4 or (value.size == 1 and not value.any()):
            return True  # a shape, an axis, a zero point that the file leaves out
        return digest(as_unsigned(value)) in self._constants
