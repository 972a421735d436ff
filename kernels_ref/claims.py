"""Notes which tensors of a graph come without a claim of equal bits, as they are computed."""

from collections.abc import Sequence

from kernels_ref.bound import Compute
from kernels_ref.code_ops import CodeOp
from kernels_ref.constants import Constants
from kernels_ref.model import Node
from kernels_ref.ops import claims
from kernels_ref.ops.table import CLAIMS
from kernels_ref.ops.types import Array


def note(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], unclaimed: dict[str, str]) -> None:
    """Add what a node made to `unclaimed`, by its name and with a reason, if its op does not claim these bits.

    Args:
        node: the node.
        inputs: all that it was given.
        outputs: what it gave.
        unclaimed: the tensors so far.
    """
    claim = CLAIMS[node.op]
    if claim is not claims.always and outputs and (reason := claim(inputs, node.attributes, outputs)):
        unclaimed.update((name, f"{node.op}: {reason}") for name in node.outputs if name and name not in unclaimed)


def noted(node: Node, compute: Compute, constants: Constants, unclaimed: dict[str, str]) -> Compute:
    """`compute`, which takes a node's inputs or all but constant ones at their end, with a note of its claim."""
    if CLAIMS[node.op] is claims.always:
        return compute

    def run(*given: Array | None) -> tuple[Array, ...]:
        outputs = compute(*given)
        left_out = [constants[name] if name else None for name in node.inputs[len(given) :]]
        note(node, [*given, *left_out], outputs, unclaimed)
        return outputs

    return run


def noted_code_op(op: CodeOp, unclaimed: dict[str, str]) -> Compute:
    """A fused op on codes, with a note of its claim."""
    name = op.codes_node.outputs[0]

    def run(*values: Array) -> tuple[Array, ...]:
        if name not in unclaimed and (reason := op.doubt(*values)):
            unclaimed[name] = f"{op.op}: {reason}"
        return op(*values)

    return run
