"""Inputs to verify on: images in the file's own preprocessing, or seeded random ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.errors import MptqError
from mptq_export.verify.session import GraphInput

_SEED = 0


def random_inputs(spec: GraphInput, count: int, batch: int) -> Iterator[NDArray[Any]]:
    """Batches of random inputs in the graph's own type and shape, the same ones on every call.

    Args:
        spec: the graph's input. Floats are standard normal; integers are uniform over all their values.
        count: number of inputs; rounded up to whole batches where the graph fixes its batch size.
        batch: inputs a batch, where the graph leaves it free.

    Yields:
        (batch, ...) arrays.

    Raises:
        MptqError: a dimension other than the batch is free, or the type has no random values here.
    """
    sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
    if not spec.shape or len(sizes) != len(spec.shape) - 1:
        raise MptqError(f"input {spec.name} has the free shape {list(spec.shape)}: give real inputs with --images")
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "fiu":
        raise MptqError(f"input {spec.name} is {spec.dtype}: there are no random inputs of that type")
    generator = np.random.default_rng(_SEED)
    done = 0
    while done < count:
        size = spec.batch(min(batch, count - done))
        shape = (size, *sizes)
        if dtype.kind == "f":
            yield generator.standard_normal(shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            yield generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        done += size
