"""Every tensor of one input, from onnxruntime and from the reference: all at once, or a part at a time.

A part at a time, the reference says when it has made a tensor, and onnxruntime runs until it has made it too. Both are
dropped as soon as they have been compared, so that neither holds more than what is still to be read.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mptq_export.support.errors import MptqError
from mptq_export.verify.kernels.runtime_graph import RuntimeGraph
from mptq_export.verify.reference import Feed, Reference

Compare = Callable[[str, NDArray[Any], NDArray[Any]], None]
"""Takes a tensor's name, the runtime's values and the reference's."""


@dataclass(frozen=True)
class Ends:
    """What is left of a comparison.

    Attributes:
        got: the outputs of the graph, as the instrumented runtime gives them.
        expected: the same of the reference.
        nbytes: of all tensors together.
    """

    got: Feed
    expected: Feed
    nbytes: int


def compare_tensors(
    runtime: RuntimeGraph,
    reference: Reference,
    feed: Feed,
    compare: Compare,
    *,
    names: Collection[str],
    folded: Feed,
) -> Ends:
    """Run both on an input and compare.

    Args:
        runtime: the graph that onnxruntime runs.
        reference: what it is compared with.
        feed: the graph's input.
        compare: called for each tensor once.
        names: tensors to compare.
        folded: those of them that onnxruntime has folded into constants.

    Raises:
        MptqError: one of the two has no such tensor.
        InterpreterError: the reference cannot run.
    """
    outputs = [entry.name for entry in runtime.default.get_outputs()]
    if runtime.parts:
        meeting = _Meeting(runtime.run_parts(feed), compare, names={*names, *outputs}, outputs=outputs, folded=folded)
        expected = reference.run(feed, trace={*names, *outputs}, observe=meeting.compare)
        for name in outputs:  # that no node makes
            meeting.compare(name, _value(expected, name))
        got = {name: meeting.ends[name] for name in outputs}
        return Ends(got, {name: _value(expected, name) for name in outputs}, meeting.nbytes)
    expected = reference.run(feed, trace=names)
    got = folded | runtime.run_traced(feed)
    for name in names:
        compare(name, got[name], _value(expected, name))
    nbytes = sum(tensor.nbytes for tensor in expected.values())
    return Ends({name: got[name] for name in outputs}, {name: _value(expected, name) for name in outputs}, nbytes)


class _Meeting:
    """Where tensors of both meet: the runtime's wait for those of the reference, in the order of the file.

    Attributes:
        ends: outputs of the graph, as the runtime gives them.
        nbytes: of what the reference has made.
    """

    def __init__(
        self, parts: Iterator[Feed], compare: Compare, *, names: set[str], outputs: list[str], folded: Feed
    ) -> None:
        self.ends: Feed = {}
        self.nbytes = 0
        self._parts, self._outputs, self._compare = parts, outputs, compare
        self._awaited, self._waiting = names, dict(folded)

    def compare(self, name: str, value: NDArray[Any]) -> None:
        """Compare a tensor that the reference has made, once."""
        if name not in self._awaited:
            return
        while name not in self._waiting:
            made = next(self._parts, None)
            if made is None:
                raise MptqError(f"onnxruntime gave no value for tensor {name}; please report this file")
            self._waiting |= {each: of for each, of in made.items() if each in self._awaited}
        self._awaited.remove(name)
        got = self._waiting.pop(name)
        if name in self._outputs:
            self.ends[name] = got
        self.nbytes += value.nbytes
        self._compare(name, got, value)


def _value(expected: Feed, name: str) -> NDArray[Any]:
    if name not in expected:
        raise MptqError(f"kernels_ref gave no value for tensor {name}; please report this file")
    return expected[name]
