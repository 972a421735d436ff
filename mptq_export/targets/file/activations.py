"""Rules about codes of activations: where they are, of which type, with which zero points."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx

from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.view import CURVES, FUNCTION_PARTS, MOVEMENT, QUANTIZE, Codes, FileView

#: Ops that multiply, which compute in integers where what they read has codes.
_PRODUCTS = ("Gemm", "Conv", "MatMul")

#: Ops whose inputs and result have one type of codes, but for the second factor of a MatMul.
_ONE_TYPE_FREE = {"MatMul": (1,), "Gemm": (1, 2), "Conv": (1, 2), "LayerNormalization": (1, 2)}


def codes_at_products(source: str) -> FileRule:
    """Whatever is multiplied has codes."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type(*_PRODUCTS):
            for name in node.input[:2]:
                if not _has_codes(file, name):
                    yield f"{node.name} reads {name}, which has no codes"

    return FileRule("codes", "codes on what Gemm, Conv and MatMul read", source, broken)


def codes_everywhere(source: str, *, within_functions: bool) -> FileRule:
    """Every tensor has codes.

    Args:
        source: as in `FileRule`.
        within_functions: also those between the nodes of one function (GELU in parts, x sigmoid(x)).
    """

    def broken(file: FileView) -> Iterator[str]:
        for node in file.computing:
            for name in file.data_inputs(node):
                stored = name in file.stored
                if (
                    not stored
                    and not _has_codes(file, name)
                    and not (not within_functions and _inner(file, node, name))
                ):
                    yield f"{node.name} reads {name}, which has no codes"
            for name in node.output:
                if name in file.outputs:
                    yield f"{node.name} gives the output {name} without codes"

    within = "" if within_functions else ", but between the nodes of one function"
    return FileRule("codes", f"codes on every tensor{within}", source, broken)


def one_reader(source: str) -> FileRule:
    """One QuantizeLinear reads each result, and one DequantizeLinear each stored tensor."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.computing:
            for name in node.output:
                if len(file.readers.get(name, ())) > 1:
                    yield f"{name} has {len(file.readers[name])} readers"
        for name, tensor in file.stored.items():
            readers = [n for n in file.readers.get(name, ()) if n.input[0] == name and n.op_type == "DequantizeLinear"]
            if len(readers) > 1 and len(tensor.dims) > 0:
                yield f"the codes {name} are read with {len(readers)} scales"

    says = "one QuantizeLinear behind each result, one DequantizeLinear behind each stored tensor"
    return FileRule("one reader", says, source, broken)


def types(allowed: Iterable[str], source: str) -> FileRule:
    """Types that codes of activations have."""
    kinds = tuple(allowed)

    def broken(file: FileView) -> Iterator[str]:
        for name, codes in _activations(file):
            if codes.kind not in kinds:
                yield f"{name} is {codes.kind}"

    return FileRule("activation types", f"activations are {' or '.join(kinds)}", source, broken)


def zero_points(says: str, allowed: Callable[[Codes], bool], source: str) -> FileRule:
    """Zero points of activations.

    Args:
        says: as in `FileRule`.
        allowed: whether codes have a zero point that is taken.
        source: as in `FileRule`.
    """

    def broken(file: FileView) -> Iterator[str]:
        for name, codes in _activations(file):
            if not allowed(codes):
                yield f"{name} has zero point {codes.zero_point.flat[0]} ({codes.kind})"

    return FileRule("zero points", says, source, broken)


def per_tensor(source: str) -> FileRule:
    """One scale for all of an activation."""

    def broken(file: FileView) -> Iterator[str]:
        return (f"{name} has {codes.scale.size} scales" for name, codes in _activations(file) if codes.scale.size > 1)

    return FileRule("scales", "one scale for each activation", source, broken)


def one_type(source: str) -> FileRule:
    """An op computes in integers where its codes in and out have one type."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.computing:
            free = _ONE_TYPE_FREE.get(node.op_type, ())
            read = [c for at, n in enumerate(file.data_inputs(node)) if at not in free and (c := file.codes(n))]
            made = [codes for name in node.output for codes in file.codes_made(name)]
            kinds = dict.fromkeys(codes.kind for codes in (*read, *made))
            if len(kinds) > 1:
                yield f"{node.name} ({node.op_type}) has codes of {' and '.join(kinds)}"

    return FileRule("one type", "codes of one type in and out of every op", source, broken)


def second_factor(kinds: Iterable[str], source: str) -> FileRule:
    """The type of the second factor of a product of two values."""
    allowed = tuple(kinds)

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("MatMul"):
            codes = file.codes(node.input[1])
            if codes is not None and codes.kind not in allowed:
                yield f"{node.name} multiplies by {codes.kind}"

    return FileRule("second factor", f"the second factor of a MatMul is {' or '.join(allowed)}", source, broken)


def same_through_movement(source: str) -> FileRule:
    """Data movement keeps its codes."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.computing:
            before = file.codes(node.input[0]) if node.op_type in MOVEMENT else None
            after = [codes for name in node.output for codes in file.codes_made(name)]
            if before is not None and any(codes.parameters != before.parameters for codes in after):
                yield f"{node.name} ({node.op_type}) changes scale or zero point"

    return FileRule("movement", "data movement keeps scale and zero point", source, broken)


def bytes_behind_movement(source: str) -> FileRule:
    """Weights of 4 bits are not multiplied with 16-bit codes that were moved, but for those out of heads."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Gemm"):
            weights, read = file.codes(node.input[1]), file.codes(node.input[0])
            if weights is None or read is None or (weights.kind, read.kind) != ("int4", "uint16"):
                continue
            moves, name = [], node.input[0]
            while (made_by := file.maker(name)) is not None and made_by.op_type in MOVEMENT:
                moves.append((made_by, file.computed(name)))
                name = made_by.input[0]
            heads = made_by is not None and made_by.op_type == "MatMul"
            for move, output in moves:
                if _is_offset(file, move, output) or (move.op_type == "Transpose" and not heads):
                    yield f"{node.name} multiplies 4-bit weights with what {move.name} ({move.op_type}) moved"

    return FileRule("nibbles", "no 4-bit weights for 16-bit codes that were moved", source, broken)


def _is_offset(file: FileView, node: onnx.NodeProto, output: str) -> bool:
    """Whether an output holds elements behind the first ones that a node reads."""
    if node.op_type == "Split":
        return bool(output != node.output[0])
    first = file.values(node.input[1]) if node.op_type in {"Slice", "Gather"} else np.zeros(1, np.int64)
    return first is None or any(first.ravel()[:1].tolist())


def softmax_codes(says: str, allowed: Callable[[Codes], bool], source: str) -> FileRule:
    """Codes of what a softmax gives."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Softmax"):
            for codes in file.codes_made(node.output[0]):
                if not allowed(codes):
                    point, scale = codes.zero_point.flat[0], codes.scale.flat[0]
                    yield f"{node.name} gives {codes.kind} with zero point {point} and scale {scale:.6g}"

    return FileRule("softmax", says, source, broken)


def no_codes_before_softmax(source: str) -> FileRule:
    """Scores are floats."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Softmax"):
            if file.codes(node.input[0]) is not None and file.codes_made(node.output[0]):
                yield f"{node.name} stands between codes"

    return FileRule("softmax", "no codes in front of a Softmax", source, broken)


def _has_codes(file: FileView, name: str) -> bool:
    """Whether a tensor is dequantized, or moved after it was."""
    node = file.producers.get(name)
    while node is not None and node.op_type in MOVEMENT:
        name = node.input[0]
        node = file.producers.get(name)
    return file.codes(name) is not None


def _inner(file: FileView, node: onnx.NodeProto, name: str) -> bool:
    """Whether a tensor lies between two nodes of one function."""
    maker = file.producers.get(name)
    parts = maker is not None and maker.op_type in FUNCTION_PARTS and node.op_type in FUNCTION_PARTS
    return parts and _has_curve(file, node, set())


def _has_curve(file: FileView, node: onnx.NodeProto, seen: set[str]) -> bool:
    """Whether one of the nodes that a node is connected with by floats is a curve."""
    if node.op_type in CURVES:
        return True
    seen.add(node.name)
    near = [file.producers[name] for name in node.input if name in file.producers]
    near += [reader for name in node.output for reader in file.readers.get(name, ())]
    return any(
        each.op_type in FUNCTION_PARTS and each.name not in seen and _has_curve(file, each, seen) for each in near
    )


def _activations(file: FileView) -> Iterator[tuple[str, Codes]]:
    """Codes that are computed, with the tensor that they are made of."""
    for node in file.of_type(QUANTIZE):
        for codes in file.codes_made(node.input[0]):
            if codes.name == node.output[0]:
                yield node.input[0], codes
