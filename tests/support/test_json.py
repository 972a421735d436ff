"""What is written as JSON: one layout, and read back field by field or refused by name."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mptq_export.support.json_files import json_text, load_json, read_json, write_json
from mptq_export.support.typed_json import from_json


@dataclass(frozen=True)
class Inner:
    values: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    count: int
    name: str
    inner: dict[str, Inner]
    maybe: Inner | None
    pair: tuple[int, str]
    word: Literal["a", "b", 3]
    free: Any
    usual: bool = True

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("thirteen")


GOOD: dict[str, Any] = {
    "count": 1,
    "name": "x",
    "inner": {"a": {"values": [1, 2.5]}},
    "maybe": None,
    "pair": [1, "x"],
    "word": "b",
    "free": {"any": ["thing"]},
    "usual": False,
}
BUILT = Outer(1, "x", {"a": Inner((1.0, 2.5))}, None, (1, "x"), "b", {"any": ["thing"]}, usual=False)

TEXT = """{
 "count": 1,
 "name": "x",
 "inner": {
  "a": {"values": [1.0, 2.5]}
 },
 "maybe": null,
 "pair": [
  1,
  "x"
 ],
 "word": "b",
 "free": {
  "any": ["thing"]
 },
 "usual": false
}
"""


def test_typed_values():
    assert from_json(Outer, GOOD) == BUILT
    assert from_json(tuple[Inner, ...], [{"values": []}, {"values": [1]}]) == (Inner(()), Inner((1.0,)))


def test_only_a_field_with_a_default_may_be_missing():
    for name in GOOD:
        rest = {key: value for key, value in GOOD.items() if key != name}
        if name == "usual":
            assert from_json(Outer, rest).usual is True
        else:
            with pytest.raises(ValueError, match=f"^made lacks {name}$"):
                from_json(Outer, rest, "made")


def test_fields_of_others_are_ignored():
    assert from_json(Outer, {**GOOD, "other": 1}) == BUILT


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"count": True}, "count is True, not a whole number"),
        ({"count": "1"}, "count"),
        ({"count": 1.0}, "count"),
        ({"count": 10**400}, "count"),
        ({"count": 13}, "Outer: thirteen"),
        ({"name": None}, "name is None, not text"),
        ({"inner": []}, "inner"),
        ({"inner": {"a": {"values": ["1"]}}}, "inner.a.values is '1', not a number"),
        ({"inner": {"a": {"values": [math.nan]}}}, "inner.a.values"),
        ({"inner": {"a": {"values": [True]}}}, "inner.a.values"),
        ({"inner": {"a": {}}}, "inner.a lacks values"),
        ({"maybe": 3}, "maybe is 3, not an object"),
        ({"pair": [1]}, "pair"),
        ({"pair": [1, "x", 2]}, "not a list of 2"),
        ({"pair": ["x", 1]}, "pair is 'x'"),
        ({"word": "c"}, "word is 'c', not one of a, b, 3"),
        ({"word": 3.0}, "word is 3.0"),
        ({"usual": 0}, "usual is 0, not true or false"),
    ],
)
def test_what_does_not_fit_its_type_is_named(changes: dict[str, Any], named: str):
    with pytest.raises(ValueError, match="Outer") as caught:
        from_json(Outer, {**GOOD, **changes})
    assert named in str(caught.value)


def test_one_layout(tmp_path: Path):
    assert json_text(BUILT) == TEXT
    write_json(tmp_path / "x.json", BUILT)
    assert (tmp_path / "x.json").read_text() == TEXT
    assert read_json(tmp_path / "x.json", Outer) == BUILT


_TEXT = st.text(max_size=4)
_LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(_LEAF, lambda x: st.lists(x, max_size=3) | st.dictionaries(_TEXT, x, max_size=3), max_leaves=12))
def test_the_layout_is_json(content: Any):
    text = json_text(content)
    assert json.loads(text) == content
    assert text.endswith("\n") and not text.endswith("\n\n")


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"a": ', "\xff"])
def test_what_is_no_json_is_a_value_error(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError):
        load_json(tmp_path / "x.json")
