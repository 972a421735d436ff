"""What every form of the file knows of a value: the tensor that holds it, and how it lies there."""

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value of the graph as a tensor of the file.

    Attributes:
        suffix: what names of moved tensors end with.
        dtype: of the numbers in the tensor.
        tensor: ONNX name.
        flat: whether all axes but the last are merged into one (rows of a 2-D Gemm).
    """

    suffix: ClassVar[str]
    dtype: ClassVar[type[np.generic]]

    tensor: str
    flat: bool


#: Data movement and changes of shape keep the kind of value.
AnyValue = TypeVar("AnyValue", bound=Value)
