"""Files that number classes."""

import json
from pathlib import Path
from typing import Any

import pytest
from timm.data.readers.class_map import load_class_map

from mptq_export.data.class_map import names_in_order, read_class_map
from mptq_export.support.errors import MptqError


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_every_form(tmp_path: Path):
    wanted = {"cat": 0, "dog": 1, "été": 2}
    for number, content in enumerate(
        (
            "cat\ndog\nété\n",
            "\ufeffcat\r\ndog \r\nété",
            ["cat", "dog", "été"],
            {"dog": 1, "cat": 0, "été": 2},
            {"0": "cat", "2": "été", "1": "dog"},
        )
    ):
        assert read_class_map(written(tmp_path / f"{number}.txt", content)) == wanted
    assert read_class_map(written(tmp_path / "index.json", {"0": ["n01440764", "tench"]})) == {
        "n01440764": 0,
        "tench": 0,
    }
    assert read_class_map(tmp_path / "0.txt") == load_class_map(str(tmp_path / "0.txt"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "names no class"),
        ("[]", "names no class"),
        ("cat\n\ndog\n", "line 2 is empty"),
        ("cat\ndog\ncat\n", "names 'cat' twice, as class 0 and 2"),
        ('{"cat": 0', "is not JSON"),
        ({"cat": -1}, "'cat' with '-1' is no class"),
        ({"cat": 1.5}, "is no class"),
        ({"cat": True}, "is no class"),
        ([1, 2], "is no class"),
    ],
)
def test_what_is_none(tmp_path: Path, content: Any, words: str):
    with pytest.raises(MptqError, match=r"--class-map .*classes\.txt") as caught:
        read_class_map(written(tmp_path / "classes.txt", content))
    assert words in str(caught.value)


def test_unreadable(tmp_path: Path):
    with pytest.raises(MptqError, match="cannot be read"):
        read_class_map(tmp_path / "none.txt")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04}")
    with pytest.raises(MptqError, match="cannot be read"):
        read_class_map(tmp_path / "x.pkl")


def test_one_name_a_logit():
    path = Path("map.txt")
    assert names_in_order(path, {"b": 1, "a": 0, "alias": 0}, 2) == ("a", "b")
    gap, more = {"a": 0, "b": 2}, {"a": 0, "b": 1, "c": 2}
    for found, words in ((gap, "class 1 has no name"), (more, "it goes up to class 2")):
        with pytest.raises(MptqError, match=f"the model has 2 logits, {words}"):
            names_in_order(path, found, 2)
