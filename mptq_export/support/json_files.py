"""JSON as this program writes it, and files of it read back as what they were written from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from mptq_export.support.files import write_text
from mptq_export.support.typed_json import from_json

Read = TypeVar("Read")


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | Dataclass
"""What a JSON file can hold; dataclasses become objects."""


def json_text(content: Json) -> str:
    """One layout for all files: a line for every entry of every section, in the order of the fields.

    Args:
        content: what is written.

    Returns:
        The same text for the same content, byte for byte.
    """
    return f"{_opened(content, 2)}\n"


def write_json(path: Path, content: Json) -> None:
    """Write `json_text`; nobody sees half of it.

    Raises:
        MptqError: the file cannot be written.
    """
    write_text(path, json_text(content))


def read_json(path: Path, kind: type[Read], name: str | None = None) -> Read:
    """Read a file that was written from a dataclass; see `typed_json.from_json`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or not what it should be.
    """
    return from_json(kind, load_json(path), name)


def load_json(path: Path) -> Any:
    """What a file of JSON holds, unchecked.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _opened(content: Any, levels: int, indent: str = " ") -> str:
    """JSON with a line an entry for so many levels, and all below them on that line."""
    content = asdict(content) if is_dataclass(content) and not isinstance(content, type) else content
    if isinstance(content, dict):
        rows: Iterable[str] = (
            f"{json.dumps(str(key))}: {_opened(value, levels - 1, indent + ' ')}" for key, value in content.items()
        )
        opening, closing = "{", "}"
    elif isinstance(content, list | tuple):
        rows = (_opened(value, levels - 1, indent + " ") for value in content)
        opening, closing = "[", "]"
    else:
        return json.dumps(content)
    if levels <= 0 or not content:
        return f"{opening}{', '.join(rows)}{closing}"
    return f"{opening}\n{indent}" + f",\n{indent}".join(rows) + f"\n{indent[:-1]}{closing}"
