"""Rules about how activation functions are spelled."""

import math
from collections.abc import Iterator

import numpy as np

from mptq_export.targets.file.rule import FileRule
from mptq_export.targets.file.view import FileView


def gelu_node(source: str) -> FileRule:
    """GELU is one node."""

    def broken(file: FileView) -> Iterator[str]:
        return (f"{node.name} is an Erf" for node in file.of_type("Erf"))

    return FileRule("gelu", "GELU is one node", source, broken)


def gelu_parts(source: str) -> FileRule:
    """GELU in parts that a compiler recognises."""

    def broken(file: FileView) -> Iterator[str]:
        for node in file.of_type("Gelu"):
            yield f"{node.name} is a Gelu node"
        for node in file.of_type("Erf"):
            before = file.producers.get(node.input[0])
            divisor = None if before is None or before.op_type != "Div" else file.values(before.input[1])
            if divisor is None or not np.allclose(np.asarray(divisor, np.float64), math.sqrt(2), rtol=1e-6):
                yield f"{node.name} is not of a Div by the root of 2"
            elif file.codes_made(node.output[0]):
                yield f"{node.name} has codes behind it"

    says = "GELU is Div by the root of 2, Erf, Add 1, Mul, Mul 0.5, and no codes between"
    return FileRule("gelu", says, source, broken)
