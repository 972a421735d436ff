"""The tables of files below four bits: files on the same images, and how they read beside others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.figures.bench import Bench
from tools.figures.commands import Commands
from tools.figures.low_bits import TABLE, TEN_CLASSES, mixed_markdown, uniform_markdown
from tools.figures.models import digits, models
from tools.figures.others import hard_markdown, small_markdown
from tools.figures.paired import compared, judged
from tools.figures.table import Document, Table

LABELS = np.array([0, 1, 1, 0])
FLOAT = np.array([[4.0, 0.0], [0.0, 4.0], [1.0, 0.0], [2.0, 0.0]], np.float32)
#: Right on one image more than float is, or with one more that is wrong.
BETTER = np.array([[4.1, 0.0], [0.0, 4.1], [0.0, 1.0], [2.1, 0.0]], np.float32)
WORSE = np.array([[0.0, 4.0], [0.0, 4.1], [1.1, 0.0], [2.1, 0.0]], np.float32)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench on which all logits are there: a command would fail, as it has no CPU."""
    for name, logits in (("digits-float", FLOAT), ("better", BETTER), ("worse", WORSE)):
        np.savez(tmp_path / f"{name}.logits.npz", logits=logits, labels=LABELS)
        (tmp_path / f"{name}.logits.made.json").write_text('{"seconds": 1}')
    return Bench(Commands(frozenset(), tmp_path), tmp_path)


def test_files_are_compared_on_the_same_images(bench: Bench):
    better, worse = bench.folder / "better.onnx", bench.folder / "worse.onnx"
    found = judged(bench, digits(), better)
    assert (found["images"], found["top1"], found["float_top1"], found["agreement"]) == (4, 1.0, 0.75, 0.75)
    assert found["kl"] == pytest.approx((np.e - 1) / (np.e + 1) / 4, abs=1e-3)  # of the image that turns over
    beside = compared(bench, digits(), better, worse)
    assert beside["top1_above"][0] == 0.5
    assert beside["agreement_above"][0] == 0.0
    ratio, low, high = beside["kl_over"]
    assert ratio == pytest.approx(found["kl"] / judged(bench, digits(), worse)["kl"])
    assert low <= ratio <= high
    assert compared(bench, digits(), better, better)["top1_above"] == [0.0, 0.0, 0.0]


def test_workers_take_devices_in_turn(bench: Bench):
    several = replace(bench, devices=("cuda:0", "cuda:1"))
    cores = frozenset({3})
    assert [several.on(worker, cores).device_option for worker in range(3)] == [
        ("--device", "cuda:0"),
        ("--device", "cuda:1"),
        ("--device", "cuda:0"),
    ]
    assert several.on(0, cores).commands.cores == cores
    assert bench.on(1, cores).device_option == ()


def row(model: str, bits: str, how: str, **beside: Any) -> dict[str, Any]:
    figures = {
        "model": model, "bits": bits, "how": how, "mean_bits": [2.98, 2.87], "seconds": 61.2, "bytes": 9_410_000,
        "values": 1_234_567, "differing": 0, "float_matmuls": 0, "images": 1000, "top1": 0.481, "float_top1": 0.573,
        "agreement": 0.667, "agreement_interval": [0.6, 0.7], "kl": 0.345, "kl_interval": [0.33, 0.36],
        "jobs": 1, "threads": 1, "machine": 0,
    }  # fmt: skip
    above = {"kl_over": [0.69, 0.6, 0.75], "top1_above": [0.018, 0.001, 0.03], "agreement_above": [0.04, 0.01, 0.06]}
    return figures | ({"beside": {**beside, **above}} if beside else {})


def document(*rows: dict[str, Any]) -> Document:
    return Document("low-bits", "abc1234", ("a machine",), {}, rows)


def test_a_file_stands_beside_what_it_is_compared_with():
    shown = document(
        row("vit_small_200", "3/3", "best"),
        row("vit_small_200", "3/3", "--reconstruct", file="3/3 best", bytes=9_420_000),
        row("vit_small_200", "mixed 3", "best", file="3/3 best", bytes=9_420_000),
    )
    uniform, mixed = uniform_markdown(shown).splitlines(), mixed_markdown(shown).splitlines()
    assert (len(uniform), len(mixed)) == (4, 3)
    for table in (uniform, mixed):
        assert len({line.count("|") for line in table}) == 1
    assert uniform[2].endswith("| 0.3450 (0.3300 to 0.3600) |  |  | 0 of 1,234,567, 0 | 61 s |")
    assert "| 0.69 (0.60 to 0.75) | +1.8 (+0.1 to +3.0) | 0 of 1,234,567, 0 |" in uniform[3]
    assert "| mixed 3 | `best` | 2.98/2.87 | 9.41 | 48.1 % |" in mixed[2]
    assert "| 3/3 | 9.42 | 0.69 (0.60 to 0.75) | +1.8 (+0.1 to +3.0) | +4.0 (+1.0 to +6.0) |" in mixed[2]


def test_ours_stands_beside_others():
    best = [row(model, "3/3", "best") for model in ("vit_small_200", "vit_small")]
    hard, small = hard_markdown(document(*best)), small_markdown(document(*best))
    assert "| FIMA-Q, calibration alone | simulation in float | 128 | 19.2 % | 49.9 % | 22.7 % | 65.5 % |" in hard
    assert "| ours, `best`: no gradients | the integer file | 128 | 48.1 % |  | 66.7 % |  |" in hard
    assert "| FIMA-Q, calibration alone | simulation in float | 128 | 72.1 % | 96.2 % |" in small
    assert "| ours, `--reconstruct` | the integer file | 256 |  |  |" in small
    for table in (hard, small):
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("table", [TABLE, TEN_CLASSES], ids=lambda table: table.name)
def test_searches_begin_before_the_files_that_wait_for_them(table: Table):
    rows = table.rows(models(Path("assets")))
    first = [each for each in rows if each.turn == 0]
    assert [each.key for each in first] == [
        f"{key} mixed 3.5 best, all images" for key in dict.fromkeys(r.model for r in rows)
    ]
    waiting = {each.turn for each in rows if "mixed" in each.key and each not in first}
    assert min(waiting) > max(each.turn for each in rows if "mixed" not in each.key)


def test_the_hard_model_has_a_table_of_its_own():
    there = models(Path("assets"))
    hard, others = ({each.model for each in table.rows(there)} for table in (TABLE, TEN_CLASSES))
    assert hard == {"vit_small_200"}
    assert hard | others == {model.key for model in there}
    assert not hard & others
