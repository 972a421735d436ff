"""The report of a portable file: no bits are promised; what runtimes made of it stands on the page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from cli.helpers import run

from mptq_export.report.compare import compare_page
from mptq_export.report.evidence import read_evidence
from mptq_export.report.export_files import Export, read_export
from mptq_export.report.figures import figures_of, mean_activation_bits
from mptq_export.report.network import layers_of
from mptq_export.report.page import report_page
from mptq_export.report.runtimes import runtime_path
from mptq_export.runtime.edge.session import PlacedOps, Placement
from mptq_export.support.hashes import sha256_of
from mptq_export.support.json_files import write_json
from mptq_export.verify.elsewhere.closeness import Closeness
from mptq_export.verify.elsewhere.final_codes import CodesOff
from mptq_export.verify.elsewhere.report import ElsewhereReport, OutputElsewhere

from .test_page import Page

WHOLE = Placement(
    (PlacedOps("FullyConnected", "HTP", "u8 x s8 x s32 -> u8", 9, accelerated=True, integer=True),), "the record"
)
BROKEN = Placement(
    (
        PlacedOps("Erf", "CPU", "", 2, accelerated=False, integer=None),
        PlacedOps("LayerNorm", "HTP", "f32 x f32 x f32 -> f32", 5, accelerated=True, integer=False),
    ),
    "the record",
)


def said(path: Path) -> ElsewhereReport:
    """What `mptq-verify --runtime qnn` would have found of a file."""
    beside = Closeness(20, 34.5, 0.999, 0.1, True, agreement=0.95, mean_kl=0.0002, kl_interval=(0.0001, 0.0003))
    codes = CodesOff(0.02, 100, (60, 30, 5, 5, 0), 0.55, 3)
    output = OutputElsewhere("logits", "logits", beside, replace(beside, mean_kl=0.004), beside, codes)
    return ElsewhereReport(
        model=str(path),
        sha256=sha256_of(path),
        runtime="qnn",
        version="onnxruntime-qnn 9",
        device="HTP simulator",
        target="qnn",
        placement=WHOLE,
        inputs={"images": 20},
        outputs=(output,),
    )


@pytest.fixture(scope="module")
def portable(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files for two targets, `q.onnx` of the one and `g.onnx` of the other, and an exact `u.onnx`."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("portable") / "made"))
    common = (folder / "m.pt", "--calib", folder / "calib", "--method", "paper")
    for name, options in {"q": ("--target", "qnn", "--bits", "8/8"), "g": ("--target", "tensorrt")}.items():
        result = run(*common, *options, "-o", folder / f"{name}.onnx")
        assert result.exit_code == 0, (result.output, result.exception)
    return folder


@pytest.fixture
def folder(portable: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(portable, tmp_path / "portable"))


def exported(folder: Path, name: str = "q", **found: object) -> Export:
    """An export, after a run in QNN that found this."""
    path = folder / f"{name}.onnx"
    if found:
        report = replace(said(path), **found)  # type: ignore[arg-type]
        write_json(runtime_path(path, "qnn"), report.to_json())
    return read_export(path)


def text_of(export: Export) -> str:
    return Page(report_page(export)).text


def test_no_bits_are_promised_and_nothing_is_proved(portable: Path):
    export = read_export(portable / "q.onnx")
    text = text_of(export)
    assert (portable / "q.report.html").read_text() == report_page(export)
    assert "portable form for qnn: no bits are promised" in text
    check = read_evidence(portable / "q.report.json").portable
    assert check is not None
    assert f"as written, {check.differing} of {check.values:,} outputs differ from the simulation" in text
    for words in ("same bits", "What was proved", "Kernel plan", "kernels_ref", "bounds and margins", "OPT-m chose"):
        assert words not in text
    assert "Not run in another runtime" in text
    assert "mptq-verify q.onnx --runtime qnn --images VAL --float MODEL --json q.qnn.json" in text
    assert "in onnxruntime, not on the target" in text


def test_a_target_that_was_never_run_says_so(portable: Path):
    text = text_of(read_export(portable / "g.onnx"))
    assert "its documents were read, it was not run" in text
    assert "not run in tensorrt, here or ever by this program" in text
    assert "--runtime" not in text


def test_the_form_stands_among_the_decisions(portable: Path):
    text = text_of(read_export(portable / "q.onnx"))
    assert "form portable, for qnn what the target takes (its runtime was run)" in text
    assert "codes unsigned, asymmetric, on every tensor" in text
    assert "residual 16 bits, with a scale of its own per tensor the target takes 16 or 8" in text
    assert "opset 21, IR 10" in text


def test_the_network_shows_layers_and_not_sums(portable: Path):
    export = read_export(portable / "q.onnx")
    assert export.evidence is not None
    layers = layers_of(export.recipe, export.evidence.macs)
    assert set(layers) == {"patch_embed.proj", *export.evidence.macs}
    assert next(iter(layers)) == "patch_embed.proj"
    assert not any("add" in layer for layer in layers)
    inner = {layer: widths for layer, widths in layers.items() if layer.startswith("blocks.")}
    assert set(inner.values()) == {(8,)}
    assert layers["patch_embed.proj"] == (16,)
    assert 8 <= (mean_activation_bits(export) or 0) < 16
    assert 'class="bits b16">16<' in report_page(export)


def test_a_run_elsewhere_is_shown_with_its_placement(folder: Path):
    export = exported(folder, version="onnxruntime-qnn 9")
    text = text_of(export)
    assert "Promise off by 0.55 codes" in text
    assert "qnn: HTP simulator right · whole, 9 ops, all in integers · onnxruntime-qnn 9 · 20 images" in text
    assert "codes off by 0.55 steps of 0.02 on average (60% equal, 3 at most)" in text
    assert "top-1 equal for 19 of 20" in text
    assert "FullyConnected HTP u8 x s8 x s32 -> u8 9" in text
    assert "Not run in" not in text


def test_what_is_wrong_elsewhere_is_the_figure(folder: Path):
    (output,) = said(folder / "q.onnx").outputs
    wrong = replace(output, wrong=("logits is -2.6 dB from what the file says",))
    export = exported(folder, outputs=(wrong,), placement=BROKEN)
    assert figures_of(export)[-1].value == "qnn: wrong"
    text = text_of(export)
    assert "not whole: 2 of 7 ops are left to the CPU, 5 in floats" in text
    assert "logits is -2.6 dB from what the file says" in text
    assert "LayerNorm HTP f32 x f32 x f32 -> f32 (floats) 5" in text
    refused = exported(folder, placement=None, outputs=(), refused="no kernel of Erf")
    assert figures_of(refused)[-1].value == "qnn: refused"
    assert "refused: no kernel of Erf" in text_of(refused)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, "q.qnn.json is of another file"),
        ({"runtime": "rknn"}, "q.qnn.json is of rknn"),
        ({"verdict": "fine"}, "q.qnn.json is not what mptq-verify --runtime qnn --json writes"),
    ],
)
def test_a_run_that_does_not_fit_is_left_out_and_named(folder: Path, change: dict[str, str], words: str):
    path = folder / "q.onnx"
    runtime_path(path, "qnn").write_text(json.dumps(said(path).to_json() | change))
    export = read_export(path)
    assert export.runs == ()
    assert words in " ".join(export.missing)


def test_an_exact_file_shows_a_run_elsewhere_too(folder: Path):
    assert "In other runtimes" not in text_of(read_export(folder / "u.onnx"))
    text = text_of(exported(folder, "u", target=""))
    assert "In other runtimes qnn: HTP simulator" in text
    assert "Kernel plan" in text


def test_accuracy_elsewhere_says_where(folder: Path):
    path = folder / "q.onnx"
    found = {
        "sha256": sha256_of(path),
        "images": 50,
        "quantised": {"top1": 0.5},
        "ran_in": {"runtime": "qnn", "device": "HTP simulator"},
    }
    path.with_suffix(".eval.json").write_text(json.dumps(found))
    assert "50 images on the HTP simulator (qnn)" in text_of(read_export(path))


def test_beside_an_exact_file(folder: Path):
    exports = (exported(folder, device="HTP simulator"), read_export(folder / "u.onnx"))
    text = Page(compare_page(exports)).text
    assert "Promise / Exactness" in text
    assert "blocks.0.attn.qkv 8/8 4/5" in text
    assert "qnn right; whole, 9 ops, all in integers; logits 34.5 dB from the file's" in text
    assert "form portable, for qnn" in text


def test_a_replay_gives_the_same_page_but_for_measurements(folder: Path):
    result = run(folder / "m.pt", "--recipe", folder / "q.recipe.json", "-o", folder / "again.onnx")
    assert result.exit_code == 0, result.output
    assert onnx.load(folder / "again.onnx") == onnx.load(folder / "q.onnx")
    text = text_of(read_export(folder / "again.onnx"))
    assert "portable form for qnn: no bits are promised" in text
    assert "mptq-export MODEL --recipe again.recipe.json -o again.onnx" in text


def test_without_measurements_it_is_built_from_the_recipe(folder: Path):
    (folder / "q.report.json").unlink()
    text = text_of(read_export(folder / "q.onnx"))
    assert "portable form for qnn: no bits are promised" in text
    assert "Kernel plan" not in text
    (folder / "q.onnx").unlink()
    assert "no bits are promised" in text_of(read_export(folder / "q.recipe.json"))


def test_the_summary_says_where_to_run_it(folder: Path):
    result = run(folder / "m.pt", "--recipe", folder / "q.recipe.json", "-o", folder / "again.onnx")
    assert "no bits are promised; what it gives there: mptq-verify" in " ".join(result.stdout.split())
    assert "residual 16" in result.stdout
