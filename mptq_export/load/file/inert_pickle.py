"""A pickle read without running what is in it: what it does not know becomes a stand-in that does nothing.

A pickle is a program: it looks names up, calls what it found, and changes what the calls gave. Here no name is looked
up: it is one of the few in `plain_makers.MAKERS`, each with a function of ours that makes plain data or a tensor, or it
becomes a `StandIn`. Calling a stand-in gives a stand-in, filling one does nothing, and nothing else can be called; only
lists, dicts, sets, namespaces and arrays can be changed. So the worst that a file can do is to be long.

The module takes the place of `pickle` in `torch.load`, which reads the storages (`persistent_load`) as ever.
"""

import pickletools
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

from mptq_export.load.file.plain_makers import MAKERS, Maker, StandIn, check_byte_order, filled, key

_HARMFUL_MODULES = frozenset(
    {"os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "importlib", "runpy", "ctypes", "code", "socket"}
)
_HARMFUL = frozenset(
    {f"builtins.{name}" for name in ("eval", "exec", "compile", "open", "__import__", "input", "breakpoint")}
    | {"io.open", "_io.open", "io.FileIO", "_io.FileIO"}
)
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Names of Python 2."""


class HarmfulPickleError(Exception):
    """The name of code that no data needs. It would do nothing here; but who put it into a file means harm."""


class Unpickler:
    """In place of `pickle.Unpickler`, for `torch.load`.

    Args:
        file: positioned at the pickle; it is left right behind it.
        _encoding: not needed, as texts of Python 2 are read as Latin-1.
    """

    def __init__(self, file: IO[bytes], **_encoding: str) -> None:
        self._file = file
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object.

        Raises:
            HarmfulPickleError: the file asks for code that no data needs.
            Exception: of several kinds, for what is no pickle, or would change what must not change.
        """
        for opcode, value, _ in pickletools.genops(self._file):
            if opcode.name in _PUSHED:
                self._stack.append(value)
            elif opcode.name != "STOP":
                _STEPS[opcode.name](self, value)
        return self._stack.pop()

    def find_class(self, module: Any, name: Any) -> Any:
        """What stands for a name; `torch.load` asks before whether it is that of a storage.

        Raises:
            HarmfulPickleError: no data needs it.
        """
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        module = _OLD_MODULES.get(module, module)
        full = f"{module}.{name}"
        if module.partition(".")[0] in _HARMFUL_MODULES or full in _HARMFUL:
            raise HarmfulPickleError(full)
        return MAKERS.get(full) or StandIn(full)

    def persistent_load(self, _name: Any) -> Any:
        """A storage: `torch.load` puts its own function here.

        Raises:
            TypeError: there is none, in a pickle that torch did not write.
        """
        raise TypeError("a storage outside of the pickle")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        return self._stack.pop()

    def _popped(self, count: int) -> tuple[Any, ...]:
        return tuple(self._stack.pop() for _ in range(count))[::-1]

    def _mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._drop_marked()

    def _drop_marked(self) -> None:
        self._since_mark()

    def _put(self, number: int | None = None) -> None:
        self._memo[len(self._memo) if number is None else number] = self._stack[-1]

    def _call(self, called: Any, arguments: Any) -> None:
        if isinstance(called, Maker):
            self._push(called.make(*arguments))
        elif isinstance(called, StandIn):
            self._push(StandIn(called.name))
        else:
            raise TypeError(f"a {type(called).__name__} is called")

    def _call_marked(self) -> None:
        called, *arguments = self._since_mark()
        self._call(called, arguments)

    def _build(self) -> None:
        state, target = self._pop(), self._stack[-1]
        match target:
            case Namespace():
                vars(target).update({name: value for name, value in state.items() if isinstance(name, str)})
            case np.ndarray():
                self._stack[-1] = filled(target, state)
            case np.dtype():
                check_byte_order(state)
            case StandIn() | OrderedDict() | str():
                pass  # attributes besides the contents
            case _:
                raise TypeError(f"a {type(target).__name__} is changed")

    def _extend(self, items: Iterable[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(map(key, items))
        elif not isinstance(target, StandIn):
            raise TypeError(f"a {type(target).__name__} is extended")

    def _set_items(self, items: Iterable[Any]) -> None:
        flat, target = list(items), self._stack[-1]
        if type(target) in (dict, OrderedDict):
            target.update(_dict(flat))
        elif not isinstance(target, StandIn):
            raise TypeError(f"items of a {type(target).__name__} are set")

    def _persistent(self, name: Any) -> None:
        """A storage; or, in torch's old format, the class of a module with its source, which nobody needs."""
        match name:
            case ("module", StandIn(), *_):
                self._push(name[1])
            case ("storage", kind, *rest):
                self._push(self.persistent_load(("storage", kind, *map(key, rest))))
            case _:
                raise TypeError("something persistent that is no storage")


def _dict(flat: list[Any]) -> dict[Any, Any]:
    return {key(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


_PUSHED = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"}
    | {"SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE"}
    | {"SHORT_BINUNICODE", "BINUNICODE8"}
)
"""Steps that carry their value."""

_STEPS: dict[str, Callable[[Unpickler, Any], None]] = {
    "PROTO": lambda self, _: None,
    "FRAME": lambda self, _: None,
    "NONE": lambda self, _: self._push(None),
    "NEWTRUE": lambda self, _: self._push(True),
    "NEWFALSE": lambda self, _: self._push(False),
    "EMPTY_TUPLE": lambda self, _: self._push(()),
    "EMPTY_LIST": lambda self, _: self._push([]),
    "EMPTY_DICT": lambda self, _: self._push({}),
    "EMPTY_SET": lambda self, _: self._push(set()),
    "MARK": lambda self, _: self._mark(),
    "POP": lambda self, _: self._drop(),
    "POP_MARK": lambda self, _: self._drop_marked(),
    "DUP": lambda self, _: self._push(self._stack[-1]),
    "TUPLE": lambda self, _: self._push(tuple(self._since_mark())),
    "TUPLE1": lambda self, _: self._push(self._popped(1)),
    "TUPLE2": lambda self, _: self._push(self._popped(2)),
    "TUPLE3": lambda self, _: self._push(self._popped(3)),
    "LIST": lambda self, _: self._push(self._since_mark()),
    "DICT": lambda self, _: self._push(_dict(self._since_mark())),
    "FROZENSET": lambda self, _: self._push(frozenset(map(key, self._since_mark()))),
    "APPEND": lambda self, _: self._extend(self._popped(1)),
    "APPENDS": lambda self, _: self._extend(self._since_mark()),
    "ADDITEMS": lambda self, _: self._extend(self._since_mark()),
    "SETITEM": lambda self, _: self._set_items(self._popped(2)),
    "SETITEMS": lambda self, _: self._set_items(self._since_mark()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda self, number: self._push(self._memo[number])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), lambda self, number: self._put(number)),
    "GLOBAL": lambda self, names: self._push(self.find_class(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda self, _: self._push(self.find_class(*self._popped(2))),
    "REDUCE": lambda self, _: self._call(*self._popped(2)),
    "NEWOBJ": lambda self, _: self._call(*self._popped(2)),
    "NEWOBJ_EX": lambda self, _: self._call(*self._popped(3)[:2]),
    "INST": lambda self, names: self._call(self.find_class(*names.split(" ", 1)), self._since_mark()),
    "OBJ": lambda self, _: self._call_marked(),
    "BUILD": lambda self, _: self._build(),
    "PERSID": lambda self, name: self._persistent(name),
    "BINPERSID": lambda self, _: self._persistent(self._pop()),
}
"""All but the extensions of `copyreg` and buffers outside of the file."""


def load(file: IO[bytes], **encoding: str) -> Any:
    """As `pickle.load`; `Unpickler.load` says what it raises."""
    return Unpickler(file, **encoding).load()
