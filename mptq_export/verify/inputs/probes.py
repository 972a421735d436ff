"""Inputs that are made up: noise, images of one value, and what no picture holds.

Pictures do not reach the codes that an even image reaches, noise does not reach those that pictures reach, and neither
reaches the ends. All are the same on every call.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.recipe.detector import RANGE_KEY
from mptq_export.runtime.graph_input import GraphInput, declared_input
from mptq_export.support.errors import MptqError
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.onnx_file import metadata_of

Array = NDArray[Any]

_SEED = 0

#: Black and white where a file does not say what a pixel can be, in standard deviations.
_PLAIN = 3.0

#: Ops that carry infinities on to where they saturate, if all else that they read is constant.
_AFFINE = frozenset({"Add", "Div", "Identity", "Mul", "Reshape", "Sub", "Transpose"})


@dataclass(frozen=True)
class Space:
    """What the inputs of a file can be.

    Attributes:
        spec: the graph's input.
        shape: of one input, without the batch.
        low: the least that a picture holds, black: a float64 array that broadcasts to `shape`, or a whole number; of
            regions of maps, the least that has a code.
        high: the most, white.
        saturates: whether all that is beyond, infinities too, becomes a code at once: then it is an input as well.
        centred: whether noise of variance 1 around 0 reaches most of it, as it does of normalised pixels.
    """

    spec: GraphInput
    shape: tuple[int, ...]
    low: Any
    high: Any
    saturates: bool
    centred: bool = True

    def filled(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Made-up images as inputs: those of regions of maps, made up in 0..1, spread over all that has a code."""
        if self.centred:
            return inputs
        spread: NDArray[np.float32] = (inputs * (self.high - self.low) + self.low).astype(np.float32)
        return spread

    def level(self, numerator: int, denominator: int) -> Array:
        """An input of one grey: `numerator / denominator` of the way from black to white."""
        dtype = np.dtype(self.spec.dtype)
        span = self.high - self.low
        value = self.low + (span * numerator // denominator if dtype.kind in "iu" else span * numerator / denominator)
        return np.broadcast_to(np.asarray(value, dtype), self.shape)


def shape_of(spec: GraphInput) -> tuple[int, ...]:
    """Shape of one input.

    Raises:
        MptqError: a dimension other than the batch is free, or the type has no made-up values.
    """
    sizes = tuple(size for size in spec.shape[1:] if isinstance(size, int))
    if not spec.shape or len(sizes) != len(spec.shape) - 1:
        raise MptqError(f"input {spec.name} has the free shape {list(spec.shape)}: give real inputs with --images")
    if np.dtype(spec.dtype).kind not in "fiu":
        raise MptqError(f"input {spec.name} is {spec.dtype}: there are no random inputs of that type")
    return sizes


def space_of(model: onnx.ModelProto) -> Space:
    """What a file's inputs can be, by its type and by the mean and deviation that its metadata names.

    Raises:
        MptqError: it cannot be known (see `shape_of`).
    """
    spec = declared_input(model)
    shape, dtype = shape_of(spec), np.dtype(spec.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return Space(spec, shape, int(limits.min), int(limits.max), saturates=False)
    low, high = np.array(-_PLAIN), np.array(_PLAIN)
    metadata = metadata_of(model)
    try:
        preprocessing = Preprocessing.from_metadata(metadata)
    except MptqError:  # a file of another maker
        preprocessing = None
    if preprocessing is not None and shape == preprocessing.input_size:
        mean, std = (np.array(v, np.float64)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
        low, high = -mean / std, (1 - mean) / std
    coded = _coded(metadata)
    if coded is not None:
        low, high = (np.array(end, np.float64) for end in coded)
    return Space(spec, shape, low, high, _saturates(model, spec.name), centred=coded is None)


def _coded(metadata: Mapping[str, str]) -> tuple[float, float] | None:
    """The least and the largest number that has a code, where the input is cut out of maps.

    Raises:
        MptqError: the metadata is damaged.
    """
    if RANGE_KEY not in metadata:
        return None
    try:
        low, high = map(float, json.loads(metadata[RANGE_KEY]))
    except (ValueError, TypeError, RecursionError) as error:
        raise MptqError(f"the file's {RANGE_KEY} is damaged ({error}); export it again") from error
    return low, high


def noise_in(space: Space) -> Iterator[Array]:
    """Noise for what a file takes, without end: of regions of maps it reaches all that has a code."""
    rows = noise(space.spec)
    if space.centred:
        return rows
    middle, deviation = (space.low + space.high) / 2, (space.high - space.low) / (2 * _PLAIN)
    return ((row * deviation + middle).astype(row.dtype) for row in rows)


def noise(spec: GraphInput) -> Iterator[Array]:
    """Standard normal floats, or integers uniform over all their values, without end."""
    shape, dtype = shape_of(spec), np.dtype(spec.dtype)
    generator = np.random.default_rng(_SEED)
    while True:
        if dtype.kind == "f":
            yield generator.standard_normal(shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            yield generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def constants(space: Space) -> Iterator[Array]:
    """Inputs of one grey: black, white, and each time all that lie halfway between those before, without end."""
    yield space.level(0, 1)
    yield space.level(1, 1)
    denominator = 2
    while True:
        yield from (space.level(numerator, denominator) for numerator in range(1, denominator, 2))
        denominator *= 2


def extremes(space: Space) -> list[Callable[[], Array]]:
    """Inputs at the ends: checkerboards and single pixels of black and white and, where it saturates, of more.

    Those that differ most from each other come first: a check that has little time takes the first ones.
    """
    black, white, grey = space.level(0, 1), space.level(1, 1), space.level(1, 2)
    ends = [
        lambda: _checkerboard(space, white, black),
        lambda: _spot(black, white, 0.5),
        lambda: _checkerboard(space, black, white),
        lambda: _spot(white, black, 0.5),
        lambda: _spot(black, white, 0.0),
        lambda: _spot(black, white, 1.0),
    ]
    if not space.saturates:
        return ends
    dtype = np.dtype(space.spec.dtype)
    largest, infinite = (np.full(space.shape, value, dtype) for value in (np.finfo(dtype).max, np.inf))
    beyond = [
        lambda: _checkerboard(space, infinite, -infinite),
        lambda: largest,
        lambda: -infinite,
        lambda: -largest,
        lambda: infinite,
        lambda: _checkerboard(space, largest, -largest),
        lambda: _spot(grey, infinite, 0.5),
        lambda: _spot(grey, -largest, 0.5),
    ]
    paired = [one for pair in zip(beyond, ends, strict=False) for one in pair]
    return [*paired, *beyond[len(ends) :]]


def _checkerboard(space: Space, first: Array, second: Array) -> Array:
    """Values that alternate along every axis."""
    places: Array = sum(np.ogrid[tuple(slice(size) for size in space.shape)], np.zeros((), np.int64))
    return np.where(places % 2 == 0, first, second)


def _spot(ground: Array, spot: Array, where: float) -> Array:
    """One value that is another, so far from the first to the last."""
    found = np.array(ground)
    index = round(where * (found.size - 1))
    found.flat[index] = spot.flat[index]
    return found


def _saturates(model: onnx.ModelProto, name: str) -> bool:
    """Whether every reader of a tensor is QuantizeLinear, or hands it on to one after arithmetic with constants."""
    graph = GraphReader(model)
    waiting, found = [name], False
    seen = set(waiting)
    while waiting:
        tensor = waiting.pop()
        if tensor in graph.outputs:
            return False
        for node in graph.readers(tensor):
            if node.op_type == "QuantizeLinear" and node.input[0] == tensor:
                found = True
            elif node.op_type in _AFFINE and sum(other not in graph.constants for other in node.input) == 1:
                waiting += [output for output in node.output if output not in seen]
                seen.update(node.output)
            else:
                return False
    return found
