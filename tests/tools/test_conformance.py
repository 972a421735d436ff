"""Models of other libraries: how many there are, that one comes out exact, and how the page reads."""

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="its models are among those that are tried")
pytest.importorskip("vit_pytorch", reason="its models are among those that are tried")

from tools.conformance import libraries
from tools.conformance.examine import examine
from tools.conformance.libraries import LIBRARIES, Tried
from tools.conformance.page import markdown
from tools.conformance.row import EXACT, FAILED, REFUSED, TOO_LARGE, Row, line, read_rows
from tools.short_paths import short_paths

ATTENTION = "MultiheadAttention, batch first"


def test_enough_of_every_library_is_tried():
    names = {library: [name for name, _ in about.names()] for library, about in LIBRARIES.items()}
    assert all(len(found) == len(set(found)) for found in names.values())
    assert len(names["transformers"]) >= 20
    assert len(names["vit-pytorch"]) >= 10
    assert {"vit_b_16", "vit_h_14", "swin_t", "swin_v2_b", "maxvit_t"} <= set(names["torchvision"])


def test_a_module_is_exact_at_both_widths():
    row = examine("torch", ATTENTION, "MultiheadAttention", 10_000_000)
    assert row.status == EXACT, row.detail
    assert [part.split()[-1] for part in row.detail.split(", ") if part.endswith(("8/8", "4/4"))] == ["8/8", "4/4"]
    assert (row.library, row.image) == ("torch", 32)


def test_what_stops_a_model_is_its_row(monkeypatch: pytest.MonkeyPatch):
    def stops() -> str:
        raise ValueError("7 values differ")

    monkeypatch.setitem(LIBRARIES, "torch", libraries.Library(list, lambda _: Tried(9, 32, stops), "nothing"))
    row = examine("torch", "a", "b", 10)
    assert (row.status, row.parameters) == (FAILED, 9)
    assert "7 values differ" in row.detail
    assert examine("torch", "a", "b", 8).status == TOO_LARGE


def test_messages_name_no_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    told = f"(/home/me/.venv/lib/python3.11/site-packages/timm/layers/pool.py:75) in {tmp_path}/mine/models.py:3"
    assert short_paths(told) == "(timm/layers/pool.py:75) in mine/models.py:3"


def test_rows_are_kept_by_library(tmp_path: Path):
    results = tmp_path / "models.jsonl"
    timm = Row("vit", "vision_transformer", EXACT, "9 values", 5, 64, 1.0)
    other = Row("vit", "vit", REFUSED, "a | b", 5, 32, 1.0, "vit-pytorch", "a small configuration")
    results.write_text("".join(map(line, (timm, other, timm))) + '{"arch": "cut', encoding="utf-8")
    assert read_rows(results) == [timm, other]
    assert "library" not in line(timm)  # as the rows of earlier runs
    page = markdown([timm, other])
    assert "## timm" in page and "- **vision_transformer**: `vit`" in page
    assert "| `vit` | refused: a \\| b | 32 | 5 | a small configuration |" in page
