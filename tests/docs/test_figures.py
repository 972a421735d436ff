"""The pages show what docs/figures holds, and docs/figures holds figures of one commit."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mptq_export.bench.instruction_set import Cpu
from mptq_export.bench.interleave import Quartiles
from mptq_export.verify.elsewhere.closeness import Closeness
from tools.figures.adopted import ADOPTED, AdoptedTable, adopt, adopted_rows
from tools.figures.commands import CommandError, Commands
from tools.figures.context import Context
from tools.figures.models import models
from tools.figures.pages import PAGES, REGIONS, caption, regions_of, rendered
from tools.figures.readme import readme_table
from tools.figures.store import Measured, document, read_documents, write_document
from tools.figures.table import Document, Figures, Row
from tools.figures.tables import TABLES

CONTEXT = Context("abc1234", "a machine", {"onnxruntime": "1.2", "torch": "2.3", "timm": "1.0"})


def test_the_pages_hold_what_the_json_says():
    documents = read_documents()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == rendered(text, documents), f"{page}: python -m tools.figures tables"


def test_every_region_stands_in_one_page_and_holds_a_table():
    places = [name for page in PAGES for name in regions_of(page.read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(REGIONS)
    assert set(read_documents()) <= {table.name for table in (*TABLES, *ADOPTED)}


def test_every_row_is_one_that_can_be_measured_again():
    for table in TABLES:
        keys = [row.key for row in table.rows(models(Path("assets")))]
        assert len(set(keys)) == len(keys) > 0
    known = {table.name: len(table.rows(models(Path("assets")))) for table in TABLES}
    assert all(0 < len(found.rows) <= known[name] for name, found in read_documents().items() if name in known)


def exact(model: str, bits: str) -> Figures:
    matmuls = {"integer": 30, "float": 0}
    shared = {"images": 16, "verdict": "exact", "tensors": 9, "values": 14_959_072, "differing": 0, "matmuls": matmuls}
    return {"model": model, "bits": bits, **shared, "jobs": 1, "threads": 1}


def kept(**changes: object) -> Document:
    whole = Document("exactness", CONTEXT.commit, (CONTEXT.machine,), CONTEXT.versions, ())
    return replace(whole, rows=tuple({**exact("digits", bits), "machine": 0} for bits in ("8/8", "4/4")), **changes)


def test_a_document_comes_back_as_it_was(tmp_path: Path):
    write_document(kept(), tmp_path)
    assert asdict(read_documents(tmp_path)["exactness"]) == asdict(kept())


def test_a_page_says_what_was_measured_on_what():
    page = "# Title\n<!-- figures: exactness -->\nold\n<!-- end of figures -->\nend\n"
    found = rendered(page, {"exactness": kept()})
    assert "| digits demo | 8/8 | 16 | 9 | 14,959,072 | 0 | exact | 30, 0 |" in found
    assert "old" not in found and caption(kept()) in found
    assert all(word in caption(kept()) for word in ("abc1234", "onnxruntime 1.2", "a machine"))
    assert rendered(found, {"exactness": kept()}) == found
    assert "Not measured yet" in rendered(page, {})


def test_several_machines_are_told_apart():
    first, second = kept().rows
    two = replace(kept(), machines=("one", "two"), rows=(first, {**second, "model": "vit_small", "machine": 1}))
    assert "; digits demo on one; ViT-small on two; rows 1 at a time with 1 threads each." in caption(two)


def test_the_table_of_the_readme_mixes_no_commits():
    assert "0 of 14,959,072 values differ" in readme_table({"exactness": kept()})
    with pytest.raises(ValueError, match=r"abc1234.*def5678"):
        readme_table({"exactness": kept(), "accuracy": replace(kept(), table="accuracy", commit="def5678")})


def rows() -> list[Row]:
    return [Row(key, "digits", lambda _bench: {}) for key in ("first", "second", "third")]


def test_rows_of_a_commit_are_collected_in_the_tables_order(tmp_path: Path):
    measured, (table, *_) = Measured(tmp_path / "rows.jsonl"), TABLES
    for key, share in (("second", 1 / 3), ("first", 2 / 3)):
        measured.add(table.name, key, CONTEXT, {"top1": share})
    measured.add(table.name, "third", replace(CONTEXT, commit="def5678"), {"top1": 1.0})
    assert measured.last_commit() == "def5678"
    found = document(table.name, rows(), measured.of("abc1234"))
    assert found is not None
    assert [row["top1"] for row in found.rows] == [0.666667, 0.333333]
    assert found.commit == "abc1234"
    assert document(table.name, rows(), measured.of("0000000")) is None


def test_rows_of_two_machines_say_so_and_of_two_versions_are_refused(tmp_path: Path):
    measured, (table, *_) = Measured(tmp_path / "rows.jsonl"), TABLES
    measured.add(table.name, "first", CONTEXT, {})
    measured.add(table.name, "second", replace(CONTEXT, machine="another"), {})
    found = document(table.name, rows(), measured.of("abc1234"))
    assert found is not None
    assert (found.machines, [row["machine"] for row in found.rows]) == (("a machine", "another"), [0, 1])
    measured.add(table.name, "third", replace(CONTEXT, versions={"onnxruntime": "1.3"}), {})
    with pytest.raises(SystemExit, match="different versions"):
        document(table.name, rows(), measured.of("abc1234"))


def test_a_command_tells_its_time_and_memory_and_its_failure(tmp_path: Path):
    commands = Commands(frozenset({0}), tmp_path)
    ran = commands.console("export", "--help", log="help")
    assert ran.seconds > 0 and ran.peak_mb > 5
    assert "Examples" in (tmp_path / "help.txt").read_text()
    with pytest.raises(CommandError, match=r"exit status 2: error: .*--nothing"):
        commands.console("export", "--nothing", log="bad")


def test_a_command_ends_with_the_time_that_there_is(tmp_path: Path):
    with pytest.raises(CommandError, match="no time left"):
        Commands(frozenset({0}), tmp_path, deadline=0.0).console("export", "--help", log="late")


CLOSE = asdict(Closeness(20, 34.5, 0.99, 0.1, True, agreement=0.95))
TIMING = {
    "threads": 1,
    "latency_ms": asdict(Quartiles(1.0, 2.0, 3.0)),
    "over_base": asdict(Quartiles(0.8, 0.9, 1.0)),
}
FORM = {"form": "ours", "timings": [TIMING], "kl": 0.001, "agreement": 0.99, "top1": 0.9}
RUN = {"model": "deit.pt", "images": 50, "cpu": asdict(Cpu("a CPU", "x86_64", ()))}
#: What each tool writes, in small, and words of its table.
WRITTEN = {
    "htp": (
        [
            {
                "file": "x/deit best.onnx", "bits": "8/8", "target": "qnn", "device": "HTP simulator", "whole": True,
                "in_integers": False, "left": ["3 LayerNorm"], "images": 100, "top1": 0.84, "top1_written": 0.85,
                "top1_float": None, "kl": 0.004, "kl_interval": [0.003, 0.005], "kl_written": 0.0035,
                "agreement": 0.99, "agreement_interval": [0.94, 1.0], "seconds": 8.0,
            }
        ],
        "| deit best | 8/8 | HTP simulator | yes | no: 3 LayerNorm | 100 | 84.0 % | 85.0 % |  | 0.00400 (0.00300 to",
    ),
    "openvino-forms": (
        {**RUN, "tables": [{"precision": "f32", "models": [{**FORM, "kernels": []}]}]},
        "| deit | f32 | ours | 2.00 | 0.90 (0.80 to 1.00) | 50 | 0.00100 | 99.0 % | 90.0 % |",
    ),
    "onnxruntime-forms": (
        {**RUN, "models": [FORM]},
        "| deit | ours | 2.00 | 0.90 (0.80 to 1.00) | 50 | 0.00100 | 99.0 % | 90.0 % |",
    ),
    "elsewhere": (
        {
            "model": "x/deit.onnx", "runtime": "rknn", "version": "rknn 2.5", "device": "rk3588 simulator",
            "target": "rknn", "verdict": "right", "inputs": {"images": 20},
            "placement": {"source": "", "ops": [{"count": 77, "accelerated": True}]},
            "outputs": [
                {
                    "output": "logits", "beside_file": CLOSE, "beside_float": None,
                    "codes": {"values": 200, "off_by": {"0": 196}, "mean": 0.02},
                }
            ],
        },
        "| deit | rknn | rknn 2.5 | rk3588 simulator | right | 77 | 0 | 20 images | logits | 98.0 % | 0.02 | 34.5 |",
    ),
    "portable-methods": (
        {
            **RUN,
            "rows": [
                {
                    "form": "qnn:8/8:8", "method": "best", "kl": 0.001, "kl_interval": [0.0, 0.002], "agreement": 1.0,
                    "agreement_interval": [0.9, 1.0], "top1": 0.9, "float_top1": 0.91, "seconds": 3.0,
                }
            ],
        },
        "| deit | `qnn:8/8:8` | best | 50 | 0.00100 (0.00000 to 0.00200) | 100.0 % (90.0 to 100.0) | 90.0 % | 91.0 % |",
    ),
    "detection": (
        {
            "model": "detectors:fcos", "images": 500, "calibration_images": 128,
            "rows": [
                {
                    "row": "4/4", "box": {"ap": 61.234, "ap50": 90.0, "ap75": 70.0}, "mask": None, "bytes": 1_230_000,
                    "differing": 0, "values": 123_456, "export_seconds": 98.7, "eval_seconds": 5.0,
                }
            ],
        },
        "| detectors:fcos | 4/4 | 500 | 61.23 |  | 90.00 | 70.00 | 1.23 | 0 of 123,456 | 99 s |",
    ),
    "detection-latency": (
        {
            "model": "fcos", "bits": "8/8", "images": 40,
            "rows": [
                {
                    "part": "whole", "threads": 1, "float_ms": asdict(Quartiles(1.0, 2.0, 3.0)),
                    "ours_ms": asdict(Quartiles(1.0, 1.5, 3.0)), "over_float": asdict(Quartiles(0.7, 0.75, 0.8)),
                }
            ],
        },
        "| fcos | 8/8 | 1 | whole | 2.00 | 1.50 | 0.75 (0.70 to 0.80) |",
    ),
    "ablation": (
        {
            "model": "deit.pt", "calibration_images": 32,
            "rows": [
                {
                    "widths": "3/3", "method": "best without OPT-m", "images": 7, "top1": 0.8, "float_top1": 0.9,
                    "agreement": 0.95, "agreement_interval": [0.9, 1.0], "kl": 0.05, "kl_interval": [0.04, 0.06],
                    "seconds": 9.0, "beside": "best", "kl_above": [0.01, 0.005, 0.02],
                }
            ],
        },
        "| 95.0 % | 0.0500 (0.0400 to 0.0600) | best | +0.0100 (+0.0050 to +0.0200) | helps |",
    ),
}  # fmt: skip
WRITTEN["detection-sets"] = WRITTEN["detection"]


@pytest.mark.parametrize("table", ADOPTED, ids=lambda table: table.name)
def test_what_another_tool_wrote_becomes_a_table(table: AdoptedTable, tmp_path: Path):
    content, words = WRITTEN[table.name]
    path, measured = tmp_path / "x.json", Measured(tmp_path / "rows.jsonl")
    path.write_text(json.dumps(content))
    assert adopt(table, [path], CONTEXT, measured) == 1
    assert adopt(table, [path], CONTEXT, measured) == 1  # again: it replaces the row
    lines = measured.of("abc1234")
    found = document(table.name, adopted_rows(table, lines), lines)
    assert found is not None
    assert len(found.rows) == 1
    write_document(found, tmp_path / "docs")
    page = rendered(f"<!-- figures: {table.name} -->\n<!-- end of figures -->", read_documents(tmp_path / "docs"))
    assert words in page
    assert f"`{table.command}`. Commit abc1234" in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_what_is_not_the_tools_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_text('{"something": "else"}')
    for table in ADOPTED:
        with pytest.raises(SystemExit, match="is not what"):
            adopt(table, [tmp_path / "x.json"], CONTEXT, Measured(tmp_path / "rows.jsonl"))
    assert not (tmp_path / "rows.jsonl").exists()
