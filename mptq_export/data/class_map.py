"""A file that says which logit a class belongs to."""

import json
import re
from pathlib import Path
from typing import Any

from mptq_export.support.errors import MptqError

_WANTED = "one class a line, or JSON: a list of names, or an object of name and number, or of number and name"

_NUMBERED = re.compile(r"\d+\s*[,;:=\t].*|.*[,;:=\t]\s*\d+")
"""A line of a table of names and numbers."""


def read_class_map(path: Path) -> dict[str, int]:
    """Read a class map.

    Args:
        path: text with one class a line, in the order of the logits, as timm's class maps are; or JSON: a list of names
            in that order, an object of names and numbers (``label2id``), or one of numbers and names (``id2label``; a
            list of several names, as in ImageNet's index, makes all of them names of the class).

    Returns:
        Number of the logit of every name.

    Raises:
        MptqError: the file is missing, is none of these, or names a class twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MptqError(f"--class-map {path} cannot be read ({error}); give a text or JSON file in UTF-8") from error
    pairs = _from_json(path, text) if text.lstrip().startswith(("[", "{")) else _from_lines(path, text)
    found: dict[str, int] = {}
    for name, number in pairs:
        if found.setdefault(name, number) != number:
            raise MptqError(f"--class-map {path} names {name!r} twice, as class {found[name]} and {number}")
    if not found:
        raise MptqError(f"--class-map {path} names no class; give {_WANTED}")
    return found


def check_numbers(path: Path, found: dict[str, int], logits: int) -> None:
    """Refuse a class map that numbers more than there is; it may leave classes out.

    Args:
        path: the class map, for messages.
        found: what `read_class_map` gave.
        logits: how many the model has.

    Raises:
        MptqError: a number is too large.
    """
    last = max(found.values())
    if last >= logits:
        raise MptqError(
            f"--class-map {path}: it goes up to class {last}, the model has {logits} logits, 0 to {logits - 1}; count "
            "from 0, and leave headings out"
        )


def names_in_order(path: Path, found: dict[str, int], logits: int) -> tuple[str, ...]:
    """One name for every logit.

    Args:
        path: the class map, for messages.
        found: what `read_class_map` gave; of several names of a class the first is taken.
        logits: how many the model has.

    Raises:
        MptqError: a logit has no name, or a name no logit.
    """
    names: dict[int, str] = {}
    for name, number in found.items():
        names.setdefault(number, name)
    missing = next((number for number in range(logits) if number not in names), None)
    if missing is not None or len(names) != logits:
        what = f"class {missing} has no name" if missing is not None else f"it goes up to class {max(names)}"
        raise MptqError(f"--class-map {path}: the model has {logits} logits, {what}; name each logit")
    return tuple(names[number] for number in range(logits))


def _from_lines(path: Path, text: str) -> list[tuple[str, int]]:
    names = [line.strip() for line in text.rstrip().split("\n")]
    if text.strip() and "" in names:
        raise MptqError(f"--class-map {path}: line {names.index('') + 1} is empty; line i names class i - 1")
    numbered = [line for line in names if _NUMBERED.fullmatch(line)]
    if names and len(numbered) == len(names):
        raise MptqError(
            f"--class-map {path}: {names[0][:40]!r} is a name and a number; give names alone, in the order of the "
            "logits, or a JSON object of names and numbers"
        )
    return [(name, number) for number, name in enumerate(names) if name]


def _from_json(path: Path, text: str) -> list[tuple[str, int]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MptqError(f"--class-map {path} is not JSON ({error}); give {_WANTED}") from error
    entries = list(enumerate(content)) if isinstance(content, list) else list(content.items())
    return [pair for key, value in entries for pair in _pairs(path, key, value)]


def _pairs(path: Path, key: str | int, value: Any) -> list[tuple[str, int]]:
    if isinstance(key, str) and type(value) is int and value >= 0:
        return [(key, value)]
    names = value if isinstance(value, list) else [value]
    if (isinstance(key, int) or re.fullmatch(r"[0-9]{1,9}", key)) and all(type(name) is str for name in names):
        return [(name, int(key)) for name in names]
    raise MptqError(f"--class-map {path}: {str(key)[:40]!r} with {str(value)[:40]!r} is no class; give {_WANTED}")
