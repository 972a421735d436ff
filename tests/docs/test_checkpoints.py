"""The examples of docs/checkpoints.md run, in their order, and print what stands below them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\nprints\n\n(?P<said>(?:    [^\n]*\n)+))?", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Example:
    """A block of Python, and what it prints."""

    code: str
    said: str


def examples(text: str) -> Iterator[Example]:
    for found in _BLOCK.finditer(text):
        lines = (found["said"] or "").splitlines()
        yield Example(found["code"], "".join(line.removeprefix("    ") + "\n" for line in lines))


def test_the_examples_print_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("transformers", reason="an example is of it")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    found = list(examples(PAGE.read_text(encoding="utf-8")))
    assert len(found) == 3
    for example in found:
        exec(compile(example.code, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == example.said
    assert (tmp_path / "detector.onnx").is_file()


def test_a_block_without_output_prints_nothing():
    (one, two) = examples(
        "```python\nx = 1\n```\n\ntext\n\n```python\nprint(x)\n```\n\nprints\n\n    1\n    2\n\nend\n"
    )
    assert (one.said, two.said) == ("", "1\n2\n")
