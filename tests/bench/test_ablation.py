"""What techniques bring: every switch of the method has its row, and rows are compared on the same images."""

import json
import shutil
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mptq_export.quantize.method import BEST, MINMAX, Method
from mptq_export.support.errors import MptqError
from tools.bench import ablation_rows
from tools.bench.ablation import main, variants_of
from tools.bench.ablation_rows import Widths
from tools.bench.techniques import NAMES, OF_THE_PORTABLE_FORM, PARTS, TECHNIQUES

from .command import run


def test_every_switch_of_the_method_has_its_rows():
    assert {*NAMES, *OF_THE_PORTABLE_FORM} == {field.name for field in fields(Method)}
    rows = {variant.name: variant for variant in variants_of(PARTS, ())}
    assert [name for name in rows if rows[name].beside is None] == ["min/max"]
    for field in set(NAMES):
        used = getattr(BEST, field) != getattr(MINMAX, field)
        beside = rows[f"best without {NAMES[field]}" if used else f"best with {NAMES[field]}"]
        assert getattr(beside.method, field) != getattr(BEST, field)
        assert replace(beside.method, **{field: getattr(BEST, field)}) == BEST
    last = rows["best"].beside
    assert last is not None
    portable = {field: getattr(BEST, field) for field in OF_THE_PORTABLE_FORM}
    assert replace(rows[last].method, **TECHNIQUES[list(TECHNIQUES)[-1]], **portable) == BEST


@pytest.fixture
def val(folder: Path, tmp_path: Path) -> Path:
    for number, image in zip(range(7), cycle(sorted(folder.rglob("*.png"))), strict=False):  # a folder a logit
        (tmp_path / "val" / f"class{number}").mkdir(parents=True)
        shutil.copy(image, tmp_path / "val" / f"class{number}")
    return tmp_path / "val"


def measured(checkpoint: Path, folder: Path, val: Path, *options: object) -> dict[str, Any]:
    out, written = val.parent / "rows", val.parent / "ablation.json"
    data = ("--calib", folder, "--val", val, "--count", 4, "--out", out, "--commit", "abc", "--json", written)
    result = run(main, checkpoint, *data, *options)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(written.read_text())
    return found


def test_rows_are_kept_and_compared(
    checkpoint: Path, folder: Path, val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = ("--bits", "3/3", "--row", "min/max", "--row", "+ SQ-b")
    report = measured(checkpoint, folder, val, *asked)
    first, second = report["rows"]
    assert (first["images"], report["calibration_images"]) == (7, 4)
    assert (first["method"], first["kl_above"], second["beside"]) == ("min/max", None, "min/max")
    more, low, high = second["kl_above"]
    assert more == pytest.approx(second["kl"] - first["kl"], abs=1e-5)
    assert low <= more <= high and first["kl"] > 0

    monkeypatch.setattr(ablation_rows, "build_recipe", None)  # what is there is not measured again
    assert measured(checkpoint, folder, val, *asked) == report
    alone = measured(checkpoint, folder, val, "--bits", "3/3", "--row", "+ SQ-b")["rows"]
    assert [row["kl_above"] for row in alone] == [None]  # the row beside was not asked for
    assert np.isclose(alone[0]["kl"], second["kl"])


def test_a_row_or_recipe_that_is_none_is_refused(checkpoint: Path, folder: Path, val: Path, tmp_path: Path):
    data = ("--calib", folder, "--val", val, "--out", tmp_path / "rows", "--commit", "abc")
    result = run(main, checkpoint, *data, "--row", "best without nothing")
    assert result.exit_code == 2
    assert "there is no row 'best without nothing'; rows are min/max, + SQ-b" in result.stderr
    (tmp_path / "x.recipe.json").write_text("{}")
    result = run(main, checkpoint, *data, "--widths", tmp_path / "x.recipe.json")
    assert result.exit_code == 2
    assert "is no recipe of an export" in result.stderr


def test_widths_are_those_of_a_search(exported: Path, tmp_path: Path):
    recipe = json.loads(exported.with_suffix(".recipe.json").read_text())
    search = {"budget": "2.5/4", "range": [2, 8], "tied": False, "solver": "greedy", "mean_bits": [2.5, 4.0]}
    widths = {"patch_embed.proj": "4/8", "blocks.0.attn.qkv": "2/3"}
    search |= {"divergence": {"greedy": 0.1}, "evaluations": 5, "widths": widths, "estimated_divergence_alone": {}}
    path = tmp_path / "m.recipe.json"
    path.write_text(json.dumps({**recipe, "settings": {**recipe["settings"], "search": search}}))
    found = Widths.of_recipe(path)
    assert (found.name, found.stem, found.options) == ("mixed 2.5/4", "mixed-2.5-4", ("--widths", str(path)))
    assert [found(layer) for layer in ("patch_embed.proj", "blocks.0.attn.qkv")] == [(4, 8), (2, 3)]
    with pytest.raises(MptqError, match="has no width for head; give the recipe of an export of this model"):
        found("head")
    with pytest.raises(MptqError, match="one width for all layers; give the recipe of an export with --mixed"):
        Widths.of_recipe(exported.with_suffix(".recipe.json"))
