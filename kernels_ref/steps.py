"""A list of computations, and what runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

#: Tensors by their name; None under '', the name of what is left out.
Values = dict[str, Array | None]

#: What Python and NumPy raise on inputs that do not fit an op, or on a graph of millions of nodes in a row.
REFUSALS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    AssertionError,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One computation: `compute` takes the values of `inputs` and returns those of `outputs`.

    An output that is not wanted is '', unless it is the only one.
    """

    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    compute: Callable[..., tuple[Array, ...]]


def perform(
    steps: Sequence[Step],
    values: Values,
    expiring: Sequence[Sequence[str]],
    made: Callable[[str, Array], None] | None = None,
) -> None:
    """Run steps.

    Args:
        steps: in an order that makes every tensor before it is read.
        values: what is there already; the results are added.
        expiring: for each step, the tensors to drop once it is done.
        made: called with every tensor that a step has made, before anything is dropped.

    Raises:
        InterpreterError: an op refuses its inputs; the message names the node.
    """
    for step, expired in zip(steps, expiring, strict=True):
        inputs = [values[name] for name in step.inputs]
        try:
            outputs = step.compute(*inputs)
        except REFUSALS as error:
            raise refusal(step.label, error) from error
        names = step.outputs
        if len(names) == 1 and outputs:
            values[names[0]] = outputs[0]
        else:
            if len(outputs) < len(names):
                raise InterpreterError(f"{step.label} gives {len(outputs)} outputs; the file names {len(names)}")
            values.update((name, value) for name, value in zip(names, outputs, strict=False) if name)
        if made is not None:
            for name in filter(None, names):
                value = values.get(name)
                if value is not None:
                    made(name, value)
        for name in expired:
            del values[name]


def refusal(label: str, error: Exception) -> InterpreterError:
    """The error of a node, from what its op or NumPy raised."""
    reason = " ".join(str(error).split())
    return InterpreterError(
        f"{label}{': ' if isinstance(error, InterpreterError) else ' cannot be computed: '}{reason}"
    )


def needed(steps: Sequence[Step], outputs: Sequence[str]) -> list[Step]:
    """The steps that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.intersection(filter(None, step.outputs)):
            kept.append(step)
            wanted.update(step.inputs)
    return kept[::-1]


def last_uses(steps: Sequence[Step], keep: set[str]) -> list[tuple[str, ...]]:
    """For each step, the tensors that nothing needs once it is done."""
    seen, expiring = set(keep), []
    for step in reversed(steps):
        last = {name for name in (*step.inputs, *step.outputs) if name and name not in seen}
        seen |= last
        expiring.append(tuple(last))
    return expiring[::-1]
