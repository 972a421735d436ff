"""What stands on the page of an export, and what it says where something is missing."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest
from cli.helpers import run

from mptq_export.recipe.schema import Claim
from mptq_export.recipe.store import read_recipe
from mptq_export.report.evidence import read_evidence
from mptq_export.report.export_files import read_export
from mptq_export.report.page import proof_rows, report_page
from mptq_export.report.stored_weights import StoredWeights
from mptq_export.support.errors import MptqError

VOID = {"meta", "link", "br", "img", "rect", "path", "circle", "line"}
LAYERS = [f"blocks.{i}.{layer}" for i in (0, 1) for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]


class Page(HTMLParser):
    """Text, element names, attributes, and elements that are not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words, self.tags, self.values, self.open = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(path: Path) -> Page:
    return Page(report_page(read_export(path)))


@pytest.fixture(scope="module")
def whole(made: Path) -> Page:
    return Page((made / "u.report.html").read_text())


def test_an_export_writes_the_page_that_its_files_give(made: Path):
    for name in ("u", "s.5", "s.4.5"):
        written = (made / f"{name}.report.html").read_text()
        assert written == report_page(read_export(made / f"{name}.onnx"))
        assert written == report_page(read_export(made / f"{name}.recipe.json"))


def test_it_is_one_file_that_loads_nothing(whole: Page, made: Path):
    assert not {"img", "iframe", "object"} & set(whole.tags)
    assert whole.tags.count("script") == 1
    addresses = [value for name, value in whole.values if name in ("src", "href", "data", "action")]
    assert addresses == ["data:,"]
    source = (made / "u.report.html").read_text()
    assert "url(" not in source and "@import" not in source
    assert source.count("http:") + source.count("https:") == source.count('"http://www.w3.org/2000/svg"')
    script = source.partition("<script>")[2].partition("</script>")[0]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in dict(whole.values)["content"]
    )
    assert whole.open == []
    assert len(source) < 250_000


def test_five_figures_stand_on_top(whole: Page, made: Path):
    evidence = read_evidence(made / "u.report.json")
    recipe = read_recipe(made / "u.recipe.json")
    for words in (
        f"Size {(made / 'u.onnx').stat().st_size / 1e6:.2f} MB",
        f"of the float32 weights ({evidence.float_bytes / 1e6:.2f} MB); {StoredWeights.of(recipe)}",
        "Mean bits 4.00 / 5.00",
        f"Exactness 0 differ of {evidence.check.values:,} values in {evidence.check.tensors} tensors",
        f"{len(recipe.proof)} bounds and margins proved",
        "of 6 images get the float model's class (95%: ",
        "6 of 6 images of ",
        "The quantizers were fitted to these images: it is no accuracy",
        "6 images, 4 random, 9 constant and 14 extreme inputs at batches 1 and 3",
    ):
        assert words in whole.text
    assert re.search(r"MB\); weights 0\.\d\d MB, [4-7]\.\d\d bits each", whole.text)
    assert re.search(r"Latency [\d.]+ ms [\d.]+ of float32 \([\d.]+ ms, in onnxruntime too\) in turn", whole.text)


def test_every_layer_has_its_widths_and_reasons(whole: Page, made: Path):
    recipe = read_recipe(made / "u.recipe.json")
    titles = {value for name, value in whole.values if name == "title"}
    for layer in LAYERS:
        assert f"{layer}: weights 4, activations 5" in titles
    assert "blocks.0.attn.scores: weights none, activations 5" in titles
    for quant in (*recipe.weights.values(), *recipe.activations.values(), *recipe.sq_b.values()):
        assert quant.reason and quant.reason in whole.text
    for key in (*recipe.activations, *recipe.sq_b, *recipe.exponents):
        assert key in whole.text


def test_minima_and_maxima_read_as_what_they_are(whole: Page, made: Path):
    proof = read_recipe(made / "u.recipe.json").proof
    table = whole.text.partition("What was proved")[2].partition("How to reproduce")[0]
    least = [claim for claim in proof if claim.what == "attention code of a row's maximum"]
    assert {claim.relation for claim in least} == {"at least"}
    closest = min(claim.value for claim in least)
    assert f"attention code of a row's maximum {len(least)} {closest:g} (at least 1) in " in table
    assert re.search(r"Exp margin in steps \d+ [\d.]+ \(at least 0\.001\) in ", table)
    assert re.search(r"int32 accumulator \d+ [\d.e+]+ \(at most 2\.14748e\+09\) in ", table)


def test_claims_are_gathered_by_what_they_are_about_whatever_their_sites_are_called():
    said = (
        "activation code of a.input",
        "activation code of sum of tokens.input",
        "activation code of x margin in steps",
        "float32 sum of tokens",
        "float32 sum of attention codes",
        "Exp margin in steps",
        "assumed error of Exp over the distance to a boundary",
        "assumed error of gelu over the distance to a boundary",
    )
    rows = proof_rows([Claim("layer", what, float(i), 10.0, "at most") for i, what in enumerate(said)])
    assert {kind: (count, claim.value) for kind, count, claim in rows} == {
        "activation code": (3, 2.0),
        **{what: (1, float(i)) for i, what in enumerate(said) if i > 2},
    }


def test_plots_are_inline(whole: Page):
    kinds = [value for name, value in whole.values if name == "aria-label"]
    assert kinds.count("Channel ranges before and after SQ-b") >= 1
    assert kinds.count("Histogram with the regions and levels of OPT-m") >= 1
    assert kinds.count("SQNR after each layer, in network order") == 1
    assert "Pareto front: mean bits against divergence" not in kinds  # there was no search
    assert kinds.count("Histogram of weight codes") == len(LAYERS) + 2  # the patch embedding and the head
    assert whole.tags.count("svg") == len(kinds)


def test_the_search_and_all_its_files(made: Path):
    page = page_of(made / "s.4.5.onnx")
    assert ("aria-label", "Pareto front: mean bits against divergence") in page.values
    table = page.text.partition("found by")[2]
    assert table.index("s.4.5.onnx") < table.index("s.5.onnx")
    assert "searched under 4.5" in page.text
    assert "this width alone costs an estimated divergence of" in page.text


def test_how_to_reproduce(whole: Page, made: Path):
    hashes = {file.name: file.sha256 for file in read_export(made / "u.onnx").files}
    assert set(hashes) == {"u.onnx", "u.recipe.json", "u.recipe.safetensors"}
    for name, digest in hashes.items():
        assert f"{name} {digest}" in whole.text
    command = f"mptq-export {made / 'm.pt'} --calib {made / 'calib'} --count 128 --bits 4/5 --method best -o"
    assert command in whole.text
    assert "mptq-export MODEL --recipe u.recipe.json -o u.onnx" in whole.text
    assert "onnxruntime" in whole.text
    search = page_of(made / "s.5.onnx").text
    assert "--mixed 5 --mixed 4.5 --mixed-range 4-6 --method best -o" in search


def test_the_kernel_plan(whole: Page, made: Path):
    kernels = read_evidence(made / "u.report.json").kernels
    assert f"QGemm integers {sum(kernel.op == 'QGemm' for kernel in kernels)}" in whole.text
    assert f"All {len(kernels)} matmuls" in whole.text


# -- from fewer files --------------------------------------------------------------------------------------------------


def test_without_measurements_it_says_what_is_missing(folder: Path):
    (folder / "s.5.report.json").unlink()
    (folder / "s.search.json").unlink()
    page = page_of(folder / "s.5.onnx")
    assert "there is no s.5.report.json" in page.text
    assert "there is no .search.json beside s.5.onnx" in page.text
    assert "Latency not measured" in page.text
    assert re.search(r"Mean bits [45]\.\d\d / [45]\.\d\d", page.text)  # the recipe tells
    assert "integers" in page.text  # the kernel plan was read again
    assert {value for name, value in page.values if name == "aria-label"} == {"Histogram of weight codes"}


def test_without_the_model_file_it_is_built_from_the_recipe(folder: Path):
    (folder / "u.onnx").unlink()
    page = page_of(folder / "u.recipe.json")
    assert "Size unknown" in page.text
    assert "u.onnx is not there" in page.text
    assert "Channel ranges before and after SQ-b" in dict(page.values).values() or "svg" in page.tags


def test_measurements_of_another_file_are_not_shown(folder: Path):
    (folder / "u.report.json").write_bytes((folder / "s.5.report.json").read_bytes())
    assert "u.report.json is of another file" in page_of(folder / "u.onnx").text


@pytest.mark.parametrize("text", ["", "{", "[3]", "null", '{"version": 1}', '{"version": 99}', "[" * 100_000, "\0"])
@pytest.mark.parametrize("name", ["s.5.report.json", "s.search.json", "s.5.eval.json"])
def test_a_damaged_companion_is_left_out_and_named(folder: Path, name: str, text: str):
    (folder / name).write_text(text)
    page = page_of(folder / "s.5.onnx")
    assert name in page.text.partition("Not in this report")[2]


def changed(path: Path, keys: tuple[str | int, ...], value: object) -> None:
    """Put a value into a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("float_bytes",), 0),
        (("float_bytes",), 10**400),
        (("check", "values"), math.nan),
        (("errors", "head", "noise"), "0"),
        (("norms", "norm", "after_low"), []),
        (("norms", "norm", "after_low", 0), 5.0),
        (("histograms", "blocks.0.mlp.fc2.input", "high"), -1e300),
        (("histograms", "blocks.0.mlp.fc2.input", "counts"), []),
        (("kernels", 0, "inputs"), None),
        (("kernels", 0, "kind"), "complex"),
        (("errors", "head", "kind"), "x"),
    ],
)
def test_measurements_that_cannot_be_are_left_out(folder: Path, keys: tuple[str | int, ...], value: object):
    changed(folder / "u.report.json", keys, value)
    assert "u.report.json is damaged" in page_of(folder / "u.onnx").text


@pytest.mark.parametrize(("key", "value"), [("mean_weight_bits", 1e300), ("divergence", 1e308), ("divergence", None)])
def test_a_search_that_cannot_be_is_left_out(folder: Path, key: str, value: object):
    for section in ("steps", "rungs"):
        changed(folder / "s.search.json", (section, 0, key), value)
        assert "s.search.json is damaged" in page_of(folder / "s.5.onnx").text


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("proof", 0, "what"), 3),
        (("proof", 0, "value"), None),
        (("weights", "head", "reason"), 3),
        (("settings", "versions"), None),
        (("settings", "bits"), 4),
        (("activations", "head.input", "reason"), None),
    ],
)
def test_a_recipe_that_is_not_what_it_should_be_is_refused(folder: Path, keys: tuple[str | int, ...], value: object):
    (folder / "u.onnx").unlink()
    changed(folder / "u.recipe.json", keys, value)
    with pytest.raises(MptqError, match=r"u\.recipe\.json"):
        read_export(folder / "u.recipe.json")


def test_top1_comes_from_an_evaluation_of_this_file(folder: Path):
    digest = read_export(folder / "u.onnx").files[0].sha256
    found = {
        "sha256": digest,
        "images": 300,
        "quantised": {"top1": 0.81, "top5": None},
        "floating": {"top1": 0.82, "top5": None},
        "agreement": 0.97,
        "mean_kl": 0.01,
    }
    (folder / "u.eval.json").write_text(json.dumps(found))
    page = page_of(folder / "u.onnx")
    assert "Top-1 81.00% 95%: 76.2% to 85.0%; float 82.00%; 300 images; agreement 97.00% (95%: " in page.text
    (folder / "u.eval.json").write_text(json.dumps({**found, "warnings": ["left out 3 of 40 images"]}))
    assert "nats; mptq-eval warned: left out 3 of 40 images" in page_of(folder / "u.onnx").text
    (folder / "u.eval.json").write_text(json.dumps({**found, "sha256": "0" * 64}))
    assert "u.eval.json was measured on another file" in page_of(folder / "u.onnx").text


def test_average_precision_and_mean_iou_come_from_an_evaluation_too(folder: Path):
    ap = {"ap50": 0.9, "ap75": 0.8, "small": None, "medium": None, "large": None}
    found = {
        "task": "detection",
        "sha256": read_export(folder / "u.onnx").files[0].sha256,
        "images": 500,
        "precision": [
            {
                "kind": "box",
                "quantised": {"ap": 0.7543, **ap},
                "floating": {"ap": 0.7561, **ap},
                "difference": -0.0018,
                "difference_interval": [-0.003, -0.0005],
            }
        ],
        "found_again": {"of_float": {"detections": 1500, "at_50": 0.99, "at_75": 0.98}},
    }
    (folder / "u.eval.json").write_text(json.dumps(found))
    page = page_of(folder / "u.onnx").text
    assert "Box AP 75.43 float 75.61 (-0.18, 95%: -0.30 to -0.05); 500 images" in page
    assert "detections found again 99.00%" in page
    assert "mptq-eval u.onnx --task detection" in page
    iou = {"quantised": {"mean_iou": 0.4}, "floating": None, "difference": None, "difference_interval": None}
    found = {**found, "task": "segmentation", "iou": iou, "same_class": None, "precision": [], "found_again": None}
    (folder / "u.eval.json").write_text(json.dumps(found))
    assert "Mean IoU 40.00 500 images" in page_of(folder / "u.onnx").text


def test_the_agreement_is_of_the_same_images_whatever_the_calibration(folder: Path):
    found = []
    for count in (2, 5):
        result = run(folder / "m.pt", "--calib", folder / "calib", "--count", count, "-o", folder / f"{count}.onnx")
        assert result.exit_code == 0, result.output
        agreement = read_evidence(folder / f"{count}.report.json").agreement
        assert agreement is not None and agreement.low <= agreement.same / 6 <= agreement.high
        assert agreement.kl_low <= agreement.mean_kl <= agreement.kl_high
        found.append((agreement.images, agreement.source, agreement.calibrated))
    source = f"6 of 6 images of {folder / 'calib'}"
    assert found == [(6, source, 2), (6, source, 5)]
    assert "The quantizers were fitted to 2 of them, the others were held back" in page_of(folder / "2.onnx").text


def test_a_replayed_export_keeps_what_was_measured(folder: Path):
    result = run(folder / "m.pt", "--recipe", folder / "u.recipe.json", "-o", folder / "again.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    first, again = (read_evidence(folder / f"{name}.report.json") for name in ("u", "again"))
    assert (again.errors, again.norms, again.histograms) == (first.errors, first.norms, first.histograms)
    assert again.agreement == first.agreement
    options = ("--input", "uint8", "-o", folder / "pixels.onnx")
    assert run(folder / "m.pt", "--recipe", folder / "u.recipe.json", *options).exit_code == 0
    assert "exported from a recipe, without images" in page_of(folder / "pixels.onnx").text


def test_an_export_stands_even_if_its_report_cannot_be_written(work: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_page: str) -> None:
        raise MptqError("cannot write m.mptq.report.html: No space left on device")

    monkeypatch.setattr("mptq_export.report.write.report_page", full)
    result = run(work / "m.pt", "--calib", work / "calib")
    assert result.exit_code == 0
    said = "warning: there is no report: cannot write m.mptq.report.html: No space left on device\n"
    assert result.stderr.endswith(said)
    assert (work / "m.mptq.onnx").exists() and not (work / "m.mptq.report.html").exists()


def test_names_are_escaped(folder: Path):
    recipe = json.loads((folder / "u.recipe.json").read_text())
    recipe["settings"]["calibration"]["description"] = "<script>alert(1)</script>"
    text = json.dumps(recipe)
    (folder / "u.recipe.json").write_text(text)
    (folder / "u.onnx").unlink()  # it would not be the file of this recipe
    page = page_of(folder / "u.recipe.json")
    assert page.tags.count("script") == 1  # ours
    assert "<script>alert(1)</script>" in page.text


def test_the_model_names_its_recipe(made: Path):
    """What viewers such as Netron show of the file as a whole."""
    model = onnx.load(made / "u.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name and metadata["mptq.bits"] == "4/5" and len(metadata["mptq.recipe_sha256"]) == 64
