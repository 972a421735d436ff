"""Which inputs a file is verified on, and in which batches."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.runtime.graph_input import GraphInput
from mptq_export.verify.inputs.probes import constants, extremes, noise, noise_in, shape_of, space_of

Array = NDArray[Any]

InputKind = Literal["images", "random", "constant", "extreme"]
"""Pictures, and what is made up (see `probes`)."""

#: A batch that differs from one input in every way that a defect may hide in: it is odd, and more than two.
BATCH = 3

#: Made-up inputs where no number is asked for: random, constant, and at most so many extreme ones.
RANDOM, CONSTANT, EXTREME = 4, 9, 14


class InputSet:
    """Inputs of several kinds in batches, the kinds mixed, so that every batch size sees all of them.

    Where the file leaves the batch free and none is asked for, half of the inputs run alone and half by threes, after
    them; of few inputs all run alone and the first ones once more, by three. A batch that inputs are missing for,
    because the file fixes it or an image turns out to be corrupt, is filled up with the first ones again.

    Attributes:
        drawn: how many inputs of each kind were taken so far.
    """

    def __init__(
        self, sources: Mapping[InputKind, tuple[int, Iterable[Array]]], spec: GraphInput, batch: int | None = None
    ) -> None:
        """Lay out the batches.

        Args:
            sources: for each kind how many inputs there are, and at least so many (...) arrays, unless some turn out
                to be unusable.
            spec: the graph's input.
            batch: inputs a batch, where the file leaves it free; None for one and three.
        """
        self.drawn: Counter[InputKind] = Counter(dict.fromkeys(sources, 0))
        self._sources = {kind: (count, islice(rows, count)) for kind, (count, rows) in sources.items() if count}
        self._layout = _layout(sum(count for count, _ in self._sources.values()), spec, batch)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._layout)

    def __iter__(self) -> Iterator[Array]:
        """The batches, once."""
        rows = self._rows()
        most = max((size for size, _ in self._layout), default=0)
        first: list[Array] = []
        for size, fresh in self._layout:
            found = list(islice(rows, fresh))
            if fresh and not found:
                continue
            first += found[: most - len(first)]
            found += islice(cycle(first), size - len(found))
            yield np.stack(found)

    def _rows(self) -> Iterator[Array]:
        """All inputs; of each kind the same share at every point."""
        turns = sorted(((2 * i + 1) / count, kind) for kind, (count, _) in self._sources.items() for i in range(count))
        for _, kind in turns:
            for row in islice(self._sources[kind][1], 1):
                self.drawn[kind] += 1
                yield row


def _layout(count: int, spec: GraphInput, batch: int | None) -> list[tuple[int, int]]:
    """Size of each batch, and how many of its inputs are new."""
    fixed = spec.batch(0)
    size = fixed or batch
    if size:
        whole, rest = divmod(count, size)
        return [(size, size)] * whole + ([(size if fixed else rest, rest)] if rest else [])
    threes = count // (2 * BATCH)
    alone = [(1, 1)] * (count - BATCH * threes)
    return alone + ([(BATCH, BATCH)] * threes or [(BATCH, 0)] * bool(count))


def probe_sources(
    model: onnx.ModelProto, random: int = RANDOM, constant: int = CONSTANT, extreme: int = EXTREME
) -> dict[InputKind, tuple[int, Iterator[Array]]]:
    """Made-up inputs of a file, for `InputSet`.

    Args:
        model: the file.
        random: how many random ones.
        constant: how many of one grey.
        extreme: at most so many at the ends.

    Raises:
        MptqError: its inputs cannot be made up.
    """
    space = space_of(model)
    ends = extremes(space)[:extreme]
    return {
        "random": (random, noise_in(space)),
        "constant": (constant, constants(space)),
        "extreme": (len(ends), _called(ends)),
    }


def random_inputs(spec: GraphInput, count: int, batch: int) -> Iterator[Array]:
    """Batches of random inputs in the graph's own type and shape, the same ones on every call.

    Args:
        spec: the graph's input.
        count: number of inputs; rounded up to whole batches where the graph fixes its batch size.
        batch: inputs a batch, where the graph leaves it free.

    Yields:
        (batch, ...) arrays.

    Raises:
        MptqError: a dimension other than the batch is free, or the type has no random values here.
    """
    shape_of(spec)
    rows, done = noise(spec), 0
    while done < count:
        size = spec.batch(min(batch, count - done))
        yield np.stack(list(islice(rows, size)))
        done += size


def describe_inputs(kinds: Mapping[InputKind, int], batches: Iterable[int]) -> str:
    """Such as `16 images, 4 random and 9 constant inputs at batches 1 and 3`."""
    named = {"images": f"{kinds.get('images', 0)} image" + "s" * (kinds.get("images") != 1)}
    made = [f"{count} {kind}" for kind, count in kinds.items() if kind != "images" and count]
    several = sum(count for kind, count in kinds.items() if kind != "images") > 1
    listed = [named["images"]] * bool(kinds.get("images")) + made
    text = _and(listed) + ((" inputs" if several else " input") if made else "")
    sizes = sorted(batches)
    return text + (f" at batch{'es' * (len(sizes) > 1)} {_and([str(size) for size in sizes])}" if sizes else "")


def _and(parts: Sequence[str]) -> str:
    *most, last = parts or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def _called(makers: list[Callable[[], Array]]) -> Iterator[Array]:
    return (make() for make in makers)
