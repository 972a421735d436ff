"""Dataclasses out of JSON, checked: what does not fit its type is refused, so that readers need no checks of theirs."""

import types
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Built = TypeVar("Built")

#: Numbers beyond it are damage: nothing that is stored is so large.
_LARGEST = 1e30


def from_json(cls: type[Built], values: Any) -> Built:
    """Build a dataclass from what `dataclasses.asdict` and JSON made of it.

    Args:
        cls: a dataclass of numbers, strings, `X | None`, `tuple[X, ...]`, `dict[str, X]` and dataclasses.
        values: parsed JSON.

    Raises:
        ValueError: a field is missing or not of its type, or a number is not finite or absurd.
    """
    built: Built = _built(cls, values, cls.__name__)
    return built


def _built(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _built(inner, value, where)
    if is_dataclass(kind):
        _expect(isinstance(value, dict), where)
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        for name in names:
            _expect(name in value, f"{where}.{name}")
        return kind(**{name: _built(hints[name], value[name], f"{where}.{name}") for name in names})  # type: ignore[operator]
    if origin is tuple:
        _expect(isinstance(value, list), where)
        return tuple(_built(arguments[0], item, where) for item in value)
    if origin is dict:
        _expect(isinstance(value, dict), where)
        return {key: _built(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float:
        _expect(type(value) in (int, float) and abs(value) <= _LARGEST, where)  # not so NaN
        return float(value)
    _expect(type(value) is kind and (kind is not int or abs(value) <= _LARGEST), where)
    return value


def _expect(holds: bool, where: str) -> None:
    if not holds:
        raise ValueError(f"{where} is missing or not what it should be")
