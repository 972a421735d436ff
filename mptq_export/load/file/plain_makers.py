"""What a pickle may make: tensors of their storages, arrays of their bytes, containers, namespaces and paths.

Nothing here runs what a file names. A name that stands in no row of `MAKERS` becomes a `StandIn`.
"""

import io
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mptq_export.load.file.content import LEGACY

_PLAIN_DTYPE = re.compile(r"[<|=]?(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d+)")
"""No objects: an array of them is a pickle again. No other order of bytes than that of the machine."""


@dataclass(frozen=True, eq=False)
class StandIn:
    """What a file wants from code that is not run: a class, a function, or what they would have made.

    Attributes:
        name: of the code, with its module.
    """

    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    return value.name if isinstance(value, StandIn) else type(value).__name__


@dataclass(frozen=True, eq=False)
class Maker:
    """The function of ours that takes the place of a name."""

    make: Callable[..., Any]


def key(value: Any) -> Hashable:
    """The key of a dict or a member of a set, if hashing it takes no time: tuples in tuples may take ages.

    Raises:
        TypeError: it is of another kind.
    """
    for each in value if isinstance(value, tuple) else (value,):
        if not isinstance(each, str | bytes | int | float | complex | None | StandIn | Maker | Tensor):
            raise TypeError(f"a {type(each).__name__} as a key")
    return value  # type: ignore[no-any-return]


def filled(array: NDArray[Any], state: Any) -> Any:
    """An array with its shape and numbers, in place; a stand-in for one of objects, which would be a pickle again.

    Raises:
        TypeError, ValueError: the numbers are not as many as the shape says.
    """
    version, shape, dtype, fortran, data = state
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        return StandIn("numpy.ndarray")
    array.__setstate__((int(version), tuple(map(int, shape)), dtype, bool(fortran), data))  # type: ignore[arg-type]
    return array


def check_byte_order(state: Any) -> None:
    """Refuse numbers in the order of bytes of another machine.

    Raises:
        ValueError: they are.
    """
    if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
        raise ValueError("its arrays are big-endian")


def _dtype(code: Any, *_: Any) -> Any:
    if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
        return StandIn("numpy.dtype")
    return np.dtype(code)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        return StandIn("numpy.generic")
    return np.frombuffer(data, dtype, 1)[0]


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray):
        return StandIn("numpy.ndarray")
    return np.frombuffer(data, dtype).reshape(tuple(map(int, shape)), order="F" if order == "F" else "C")


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    """What lies in a storage; torch checks that it does."""
    if not isinstance(storage, torch.storage.TypedStorage):
        return StandIn("torch.Tensor")
    sizes = tuple(map(int, size)), tuple(map(int, stride))
    return torch._utils._rebuild_tensor(storage, int(offset), *sizes)  # type: ignore[no-untyped-call]


def _typed_tensor(maker: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor of a subclass, or with attributes: plain only where it is torch's own class."""
    if not isinstance(kind, StandIn) or not isinstance(maker, Maker):
        return StandIn("torch.Tensor")
    own = kind.name in ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
    return maker.make(*arguments) if own else kind


def _storage(data: bytes) -> Any:
    """A tensor's storage in a plain pickle: a file of its own in torch's old format, for its restricted unpickler.

    Raises:
        TypeError: it is of another kind.
    """
    if not data.startswith(LEGACY):
        raise TypeError("a storage in another format")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _items(pairs: Iterable[Any] = ()) -> list[tuple[Hashable, Any]]:
    found = pairs.items() if isinstance(pairs, dict) else pairs
    return [(key(name), value) for name, value in found]


def _instance(kind: Any, *_: Any) -> Any:
    """An object without its contents: `copyreg._reconstructor` and its like."""
    return kind.make() if isinstance(kind, Maker) else kind


def _both(name: str) -> tuple[str, str]:
    """Names of NumPy 1 and 2."""
    return f"numpy.core.{name}", f"numpy._core.{name}"


_FIRST = Maker(lambda value, *_: value)
_NAMESPACE = Maker(lambda *_: Namespace())
_PATH = Maker(lambda *parts: PurePosixPath(*parts).as_posix())
_ARRAY = Maker(lambda *_: np.empty(0, np.uint8))

MAKERS: dict[str, Maker] = {
    "torch._utils._rebuild_tensor": Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": Maker(_tensor),
    "torch._utils._rebuild_parameter": _FIRST,
    "torch._utils._rebuild_parameter_with_state": _FIRST,
    "torch._tensor._rebuild_from_type_v2": Maker(_typed_tensor),
    "torch.storage._load_from_bytes": Maker(_storage),
    "torch.Size": Maker(lambda sizes=(): tuple(sizes)),
    "collections.OrderedDict": Maker(lambda *pairs: OrderedDict(_items(*pairs))),
    "collections.defaultdict": Maker(lambda *_: {}),
    "collections.Counter": Maker(lambda *pairs: dict(_items(*pairs))),
    "builtins.set": Maker(lambda members=(): set(map(key, members))),
    "builtins.frozenset": Maker(lambda members=(): frozenset(map(key, members))),
    "_codecs.encode": Maker(lambda text, *_: text.encode("latin-1")),  # bytes, in old protocols
    "argparse.Namespace": _NAMESPACE,
    "types.SimpleNamespace": _NAMESPACE,
    "copyreg._reconstructor": Maker(_instance),
    "numpy.dtype": Maker(_dtype),
    **dict.fromkeys(_both("multiarray.scalar"), Maker(_scalar)),
    **dict.fromkeys(_both("multiarray._reconstruct"), _ARRAY),
    **dict.fromkeys(_both("numeric._frombuffer"), Maker(_array_of_buffer)),
    **{f"{room}.{kind}": _PATH for room in ("pathlib", "pathlib._local") for kind in ("PosixPath", "PurePosixPath")},
}
"""By the name that a pickle says."""
