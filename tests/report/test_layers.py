"""The list of layers: on the page, as CSV, and what its script does with it in a browser."""

import csv
import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mptq_export.recipe.schema import WeightQuant
from mptq_export.recipe.store import read_recipe
from mptq_export.report.charts import weights_chart
from mptq_export.report.evidence import ValueHistogram, read_evidence
from mptq_export.report.export_files import read_export
from mptq_export.report.float_file import FloatFile
from mptq_export.report.float_weights import in_steps
from mptq_export.report.layer_table import COLUMNS, layers_csv
from mptq_export.report.page import report_page
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from tools.browser import NoBrowserError, open_browser

from .test_command import report

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Table(HTMLParser):
    """Cells of the list of layers, and the lengths of its bars in per cent."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.bars: list[float] = []
        self._inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "table":
            self._inside = own.get("id") == "layers"
        if self._inside and tag == "tr":
            self.rows.append([])
        if self._inside and tag in ("td", "th"):
            self.rows[-1].append("")
        if self._inside and tag == "span":
            self.bars.append(float(str(own["style"]).removeprefix("width: ").removesuffix("%")))

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "table"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_holds_every_layer_in_order(folder: Path):
    result = report(folder / "u.onnx", "--csv", folder / "layers.csv")
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'layers.csv'}\n")
    rows = rows_of((folder / "layers.csv").read_text())
    recipe, evidence = read_recipe(folder / "u.recipe.json"), read_evidence(folder / "u.report.json")
    found = {row["layer"]: row for row in rows}
    assert tuple(rows[0]) == COLUMNS and [int(row["position"]) for row in rows] == list(range(1, len(rows) + 1))
    assert set(found) >= {*recipe.weights, *evidence.errors, *evidence.macs}
    assert [row["layer"] for row in rows if row["layer"] in evidence.errors] == list(evidence.errors)
    for name, quant in recipe.weights.items():
        assert (int(found[name]["weight_bits"]), int(found[name]["parameters"])) == (quant.bits, quant.codes.size)
    for name, error in evidence.errors.items():
        assert float(found[name]["sqnr_db"]) == pytest.approx(error.sqnr_db, abs=0.051)
        assert (found[name]["kind"] == "stream") == (error.kind == "stream")
    assert found["blocks.0.attn.scores"]["kind"] == "product" and found["blocks.0.attn.scores"]["weight_bits"] == ""
    for wrong in (("-o", folder / "x.html"), (folder / "s.5.onnx",)):
        assert "--csv is of one export" in report(folder / "u.onnx", "--csv", folder / "y.csv", *wrong).stderr


def test_the_page_has_the_same_rows_worst_first_on_one_scale(made: Path):
    table = Table((made / "u.report.html").read_text())
    _, *rows = table.rows
    known = {row["layer"]: row for row in rows_of(layers_csv(read_export(made / "u.onnx")))}
    assert len(rows) == len(known)
    for cells in rows:
        plain = [cell.replace(",", "").replace("\N{EN DASH}", "") for cell in cells]
        assert plain[:-1] == list(known[cells[1]].values())
    measured = [float(cells[7]) for cells in rows if cells[7] != "\N{EN DASH}"]
    assert measured == sorted(measured) and len(measured) == len(table.bars)
    assert table.bars == pytest.approx([min(decibels / 60, 1) * 100 for decibels in measured], abs=0.6)


def test_weights_are_shown_as_they_are_used():
    quant = WeightQuant(
        np.array([[-3, 0, 3], [0, 0, 1]], np.int8), np.array([0.5, 2], np.float32), np.zeros(2), 3, "full"
    )
    floats = in_steps(torch.tensor([[-1.6, 0.1, 2.4], [0.0, 0.2, 2.2]]), quant)
    assert (floats.low, floats.high) == pytest.approx((-3.2, 4.8)) and sum(floats.counts) == quant.codes.size
    drawn = weights_chart(quant.codes, 3, floats)
    assert drawn.count("M") == 4 + 1 and ">5<" in drawn  # a bar a code that is used, the line; codes end at 3
    assert weights_chart(quant.codes, 3, None).count("M") == 4
    far = weights_chart(quant.codes, 3, ValueHistogram(-1000.0, 3.0, (1, 5)))
    assert ">-8<" in far  # bars are still seen


def test_float_is_timed_without_being_asked_for(made: Path):
    for name in ("s.5", "s.4.5"):
        latency = read_evidence(made / f"{name}.report.json").latency
        assert latency is not None and latency.float_ms and latency.ratio and latency.why_no_float == ""
    steps = read_evidence(made / "u.report.json").weight_steps
    recipe = read_recipe(made / "u.recipe.json")
    assert {name: sum(seen.counts) for name, seen in steps.items()} == {
        n: q.codes.size for n, q in recipe.weights.items()
    }


def test_a_float_model_that_the_older_exporter_refuses_is_timed_all_the_same(capfd: pytest.CaptureFixture[str]):
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(x).abs().mean((2, 3))

    file = FloatFile(Odd())  # what it wrote goes with it
    (found,) = open_session(file.path(np.ones((1, 3, 8, 8), np.float32))).run(
        None, {"x": np.ones((1, 3, 8, 8), np.float32)}
    )
    assert found == pytest.approx(np.ones((1, 3)), rel=1e-5)
    assert capfd.readouterr() == ("", "")  # torch prints its whole graph


def test_a_float_model_that_cannot_be_timed_says_why(monkeypatch: pytest.MonkeyPatch):
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such luck")

    image = np.zeros((1, 3, 8, 8), np.float32)
    odd = FloatFile(Odd())
    for _ in range(2):  # the second time from memory
        with pytest.raises(MptqError, match="refuses it"):
            odd.path(image)
    monkeypatch.setattr("mptq_export.report.float_file.MOST_BYTES", 10)
    with pytest.raises(MptqError, match="--float-onnx FILE writes it"):
        FloatFile(torch.nn.Conv2d(3, 3, 3)).path(image)


def test_classes_and_worst_images_are_shown_and_only_pictures_are(folder: Path):
    worst: dict[str, Any] = {"distance": 0.5, "says": 1, "float_says": 0, "label": 0, "file": "a/<1>.png"}
    worst |= {"names": ["b", "a", "a"], "picture": "data:image/jpeg;base64,/9j/4A=="}
    found = {
        "sha256": sha256_of(folder / "u.onnx"),
        "images": 16,
        "quantised": {"top1": 15 / 16},
        "agreement": 15 / 16,
        "mean_kl": 0.01,
        "by_class": [{"label": n, "images": 8, "right": 8 - n, "float_right": 8, "name": "ab"[n]} for n in (0, 1)],
        "worst": [worst],
    }
    path = folder / "u.eval.json"
    path.write_text(json.dumps(found))
    page = report_page(read_export(folder / "u.onnx"))
    assert page.index("<td>b</td>") < page.index("<td>a</td>")  # 7 of 8, then 8 of 8
    assert "7 of 8" in page and "a/&lt;1&gt;.png" in page and f'src="{worst["picture"]}"' in page
    assert ">15 of 16<" in page and "93.75%" not in page and "93.8%" not in page
    path.write_text(json.dumps(found | {"worst": [worst | {"picture": "https://example.org/a.jpg"}]}))
    assert "u.eval.json is not what mptq-eval --json writes" in " ".join(read_export(folder / "u.onnx").missing)


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(made: Path) -> "Iterator[Page]":
    try:
        with open_browser() as browser:
            opened = browser.new_page()
            opened.goto((made / "u.report.html").as_uri())
            yield opened
    except NoBrowserError as error:
        pytest.skip(str(error))


def column(page: "Page", number: int) -> list[str]:
    return page.locator(f"#layers tbody tr:not([hidden]) td:nth-child({number})").all_inner_texts()


def test_layers_are_sorted_filtered_and_saved(page: "Page", made: Path):
    rows = rows_of(layers_csv(read_export(made / "u.onnx")))
    page.get_by_role("button", name="#", exact=True).click()
    assert column(page, 2) == [row["layer"] for row in rows]
    page.get_by_role("button", name="parameters").click()
    page.get_by_role("button", name="parameters").click()
    sizes = [int(size.replace(",", "")) for size in column(page, 6) if size != "\N{EN DASH}"]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) > 4
    assert column(page, 6)[len(sizes) :] == ["\N{EN DASH}"] * (len(rows) - len(sizes))
    page.get_by_role("button", name="#", exact=True).click()
    page.get_by_role("searchbox").fill("BLOCKS.1 fc")
    assert column(page, 2) == ["blocks.1.mlp.fc1", "blocks.1.mlp.fc2"]
    assert page.locator("output").inner_text() == f"2 of {len(rows)}"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert saved.value.suggested_filename == "u.layers.csv"
    kept = [row for row in rows if row["layer"].startswith("blocks.1.mlp.fc")]
    assert rows_of(Path(saved.value.path()).read_text()) == kept


def test_what_is_folded_is_printed_with_a_script_and_without(made: Path):
    try:
        with open_browser() as browser:
            for script in (True, False):
                context = browser.new_context(java_script_enabled=script)
                page = context.new_page()
                page.goto((made / "u.report.html").as_uri())
                folded = len(page.pdf())
                source = (made / "u.report.html").read_text().replace("<details>", "<details open>")
                page.set_content(source)
                assert folded > 0.97 * len(page.pdf())
    except NoBrowserError as error:
        pytest.skip(str(error))
