"""Rules about a file as a whole: versions, ops, shapes."""

from collections.abc import Iterable, Iterator

from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.view import DEQUANTIZE, QUANTIZE, FileView


def versions(lowest: int, highest: int, ir: int, source: str) -> FileRule:
    """Opset within a range, and an IR version of at most a number."""

    def broken(file: FileView) -> Iterator[str]:
        if not lowest <= file.opset <= highest:
            yield f"the file has opset {file.opset}"
        if file.model.ir_version > ir:
            yield f"the file has IR version {file.model.ir_version}"

    return FileRule("opset", f"opset {lowest} to {highest}, IR version of at most {ir}", source, broken)


def standard_ops(source: str) -> FileRule:
    """No op of another domain than ONNX's own."""

    def broken(file: FileView) -> Iterator[str]:
        return (f"{node.name} is a {node.domain}.{node.op_type}" for node in file.nodes if node.domain)

    return FileRule("domain", "ops of ONNX alone, none of com.microsoft", source, broken)


def known_ops(op_types: Iterable[str], source: str) -> FileRule:
    """Ops of a list alone."""
    allowed = frozenset(op_types) | {QUANTIZE, DEQUANTIZE}

    def broken(file: FileView) -> Iterator[str]:
        return (f"{node.name} is a {node.op_type}" for node in file.nodes if node.op_type not in allowed)

    listed = ", ".join(sorted(allowed - {QUANTIZE, DEQUANTIZE}))
    return FileRule("ops", f"beside QuantizeLinear and DequantizeLinear: {listed}", source, broken)


def fixed_shapes(source: str) -> FileRule:
    """All sizes known, a batch of one."""

    def broken(file: FileView) -> Iterator[str]:
        for name, sizes in file.shapes.items():
            if any(size < 0 for size in sizes):
                yield f"a size of {name} is not fixed"
        for entry in (*file.model.graph.input, *file.model.graph.output):
            if file.shapes[entry.name][:1] not in ([], [1]):
                yield f"{entry.name} is of {file.shapes[entry.name][0]} images"

    return FileRule("shapes", "all sizes fixed, one image", source, broken)


def few_axes(most: int, source: str) -> FileRule:
    """Tensors of a few axes."""

    def broken(file: FileView) -> Iterator[str]:
        return (f"{name} has {len(sizes)} axes" for name, sizes in file.shapes.items() if len(sizes) > most)

    return FileRule("axes", f"tensors of at most {most} axes", source, broken)


def strides(most: int, source: str) -> FileRule:
    """Convolutions of small strides."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Conv"):
            found = file.attribute(node, "strides", [1, 1])
            if isinstance(found, list) and max(found) > most:
                yield f"{node.name} has strides {found}"

    return FileRule("strides", f"strides of at most {most} in a Conv", source, broken)


def ordered_pieces(source: str) -> FileRule:
    """No Concat of all pieces of a Split in another order."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Concat"):
            origins = [_split_of(file, name) for name in node.input]
            first = origins[0]
            if first is None or any(each is None or each[0] != first[0] for each in origins):
                continue
            places = [each[1] for each in origins if each is not None]
            if places != sorted(places):
                yield f"{node.name} puts the pieces of {first[0]} in another order"

    return FileRule(
        "pieces", "no Concat that puts the pieces of one Split in another order; Slices instead", source, broken
    )


def _split_of(file: FileView, tensor: str) -> tuple[str, int] | None:
    """The Split that a tensor is a piece of, seen through codes, and which piece."""
    tensor = file.computed(tensor)
    node = file.producers.get(tensor)
    return (node.name, list(node.output).index(tensor)) if node is not None and node.op_type == "Split" else None


def tokens_by_reshape(source: str) -> FileRule:
    """Maps become tokens by a Reshape and then a Transpose."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Reshape"):
            before = file.maker(node.input[0])
            sizes = file.shapes.get(node.output[0], [])
            if before is None or before.op_type != "Transpose" or len(sizes) != 3:
                continue
            conv = file.maker(before.input[0])
            if file.attribute(before, "perm", []) == [0, 2, 3, 1] and conv is not None and conv.op_type == "Conv":
                yield f"{node.name} makes tokens of a map that {before.name} has transposed"

    says = "what a Conv gives becomes tokens by Reshape [1, C, H W] and Transpose [0, 2, 1], in this order"
    return FileRule("tokens", says, source, broken)
