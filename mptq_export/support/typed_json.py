"""Dataclasses out of JSON, checked: what does not fit its type is refused, so that readers need no checks of theirs."""

import reprlib
import types
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Built = TypeVar("Built")

#: Numbers beyond it are damage: nothing that is stored is so large.
_LARGEST = 1e30

#: What a value is called that should be of a type.
_CALLED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def from_json(cls: type[Built], values: Any, name: str | None = None) -> Built:
    """Build a dataclass from what `dataclasses.asdict` and JSON made of it.

    A field with a default may be missing; fields that the dataclass does not have are ignored.

    Args:
        cls: a dataclass of numbers, strings, `Literal`, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[X, Y]`
            with keys of text, dataclasses, and `Any` for any JSON.
        values: parsed JSON.
        name: what the message calls the whole; the name of the dataclass by default.

    Raises:
        ValueError: a field is missing or not of its type, or a number is not finite or absurd; the message names it.
    """
    built: Built = _built(cls, values, name or cls.__name__)
    return built


def _built(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        known = any(value == choice and type(value) is type(choice) for choice in arguments)
        return _expected(known, value, where, f"one of {', '.join(map(str, arguments))}")
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _built(inner, value, where)
    if is_dataclass(kind):
        return _built_dataclass(kind, value, where)
    if origin is tuple:
        _expected(isinstance(value, list), value, where, "a list")
        if arguments[-1] is Ellipsis:
            return tuple(_built(arguments[0], item, where) for item in value)
        _expected(len(value) == len(arguments), value, where, f"a list of {len(arguments)}")
        return tuple(_built(inner, item, where) for inner, item in zip(arguments, value, strict=True))
    if origin is dict:
        _expected(isinstance(value, dict), value, where, "an object")
        of_key, of_value = arguments
        return {_built(of_key, key, where): _built(of_value, item, f"{where}.{key:.80}") for key, item in value.items()}
    if kind is float:
        sound = type(value) in (int, float) and abs(value) <= _LARGEST  # not so NaN
        return float(_expected(sound, value, where, _CALLED[float]))
    sound = type(value) is kind and (kind is not int or abs(value) <= _LARGEST)
    return _expected(sound, value, where, _CALLED[kind])


def _built_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expected(isinstance(value, dict), value, where, "an object")
    hints = get_type_hints(kind)
    given = {}
    for field in fields(kind):
        if field.name in value:
            given[field.name] = _built(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif not _has_default(field):
            raise ValueError(f"{where} lacks {field.name}")
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _expected(holds: bool, value: Any, where: str, wanted: str) -> Any:
    if not holds:
        raise ValueError(f"{where} is {reprlib.repr(value):.40}, not {wanted}")
    return value
