"""mptq-export --mixed: one search, a file a budget, interruptions, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, get_args

import onnx
import pytest
from click.testing import Result
from remembered import Memory
from tiny_models import images, prepared, tiny

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.units import Widths
from mptq_export.export.run import export_model
from mptq_export.recipe.settings import Solver
from mptq_export.recipe.store import read_recipe
from mptq_export.verify.compare import verify_model

from .conftest import filled
from .helpers import FEW, KIND, WRITTEN, Interrupting, files, run, save, searching
from .searches import RANGE, SUFFIXES, cut_at, mixed

REPORT = ("report.html", "report.json")

#: A mean that no one width for all layers comes near to, so that a search has to mix.
BETWEEN = 2.9


def search_of(path: Path) -> dict[str, Any]:
    """The evidence in a recipe, read as strict JSON."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)["settings"]["search"]
    assert isinstance(found, dict)
    return found


def widths_of(path: Path) -> Widths:
    return {layer: (int(text[0]), int(text[2])) for layer, text in search_of(path)["widths"].items() if len(text) == 3}


def front(path: Path) -> list[dict[str, Any]]:
    """The trade-off but for its times, which are measured and never the same twice."""
    stored = json.loads(path.read_text())
    points = [*stored["steps"], *stored["rungs"]]
    assert all(point.pop("latency_ms") > 0 for point in points)
    assert all(point["file_bytes"] > 0 for point in points)
    return points


def means(path: Path) -> tuple[float, float]:
    return Costs.of(prepared(KIND)).mean_bits(widths_of(path))


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function after which a search breaks at its Nth measurement; 0 lets it pass again."""
    return lambda count: cut_at(count, monkeypatch)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an interrupted search leaves."""
    folder = filled(tmp_path_factory.mktemp("interrupted"))
    with pytest.MonkeyPatch.context() as patch:
        cut_at(5, patch)
        assert mixed(folder).exit_code != 0
    return (folder / "m.mptq.search.jsonl").read_bytes()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with the files of a search, and what the command said; for reading."""
    folder = filled(tmp_path_factory.mktemp("searched"))
    return folder, mixed(folder, budget=BETWEEN)


# -- good runs ---------------------------------------------------------------------------------------------------------


def test_a_search_writes_a_file_that_holds_and_its_evidence(searched: tuple[Path, Result]):
    work, result = searched
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stderr == FEW
    assert {path.name for path in work.iterdir()} == {"m.pt", "calib", *WRITTEN, "m.mptq.search.json"}
    assert re.search(r"bits +mixed 2\.9: mean 2\.\d\d/2\.\d\d \(weights/activations\) in 10 layers", result.stdout)
    report = verify_model(work / "m.mptq.onnx", [images(KIND, 2).numpy()])
    assert report.passed
    assert "0 matmuls in float" in result.stdout

    recipe, evidence = read_recipe(work / "m.mptq.recipe.json"), search_of(work / "m.mptq.recipe.json")
    assert max(means(work / "m.mptq.recipe.json")) <= BETWEEN
    assert {quant.bits for quant in recipe.weights.values()} > {2}
    for layer, (weights, activations) in widths_of(work / "m.mptq.recipe.json").items():
        if layer in recipe.weights:
            assert recipe.weights[layer].bits == weights
            if not layer.startswith("patch_embed"):
                assert recipe.activations[f"{layer}.input"].bits == activations
    assert evidence["budget"] == str(BETWEEN)
    assert evidence["range"] == [2, 4]
    assert evidence["tied"] is False
    assert recipe.settings.pins == {}
    assert evidence["solver"] in get_args(Solver)
    assert evidence["divergence"][evidence["solver"]] == min(
        v for v in evidence["divergence"].values() if v is not None
    )
    assert evidence["evaluations"] > 5
    assert all(value >= 0 for value in evidence["estimated_divergence_alone"].values())
    assert front(work / "m.mptq.search.json")[-1]["mean_weight_bits"] <= BETWEEN
    metadata = {entry.key: entry.value for entry in onnx.load(work / "m.mptq.onnx").metadata_props}
    assert metadata["mptq.bits"].startswith(f"mixed {BETWEEN}: mean ")


def test_its_recipe_replays_the_same_bytes(work: Path):
    assert mixed(work, "--pin", "head=8/8", "--tied").exit_code == 0
    (work / "calib").rename(work / "hidden")
    result = run(work / "m.pt", "--recipe", work / "m.mptq.recipe.json", "-o", work / "again.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    for suffix in SUFFIXES[:3]:
        assert (work / f"again.{suffix}").read_bytes() == (work / f"m.mptq.{suffix}").read_bytes()


def test_pins_and_ties_are_kept(work: Path):
    pins = ("head=8/8", "blocks.0.mlp.*=5/6", "blocks.0.mlp.fc2=7/4")
    result = mixed(work, "--tied", *(word for pin in pins for word in ("--pin", pin)), budget=4)
    assert result.exit_code == 0, (result.output, result.exception)
    recipe, evidence = read_recipe(work / "m.mptq.recipe.json"), search_of(work / "m.mptq.recipe.json")
    assert evidence["tied"] is True
    assert recipe.settings.pins == {"head": "8/8", "blocks.0.mlp.*": "5/6", "blocks.0.mlp.fc2": "7/4"}
    expected = {"head": (8, 8), "blocks.0.mlp.fc1": (5, 6), "blocks.0.mlp.fc2": (7, 4)}
    for layer, pair in expected.items():
        assert (recipe.weights[layer].bits, recipe.activations[f"{layer}.input"].bits) == pair
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        name = f"blocks.1.{layer}"
        assert recipe.weights[name].bits == recipe.activations[f"{name}.input"].bits
    assert max(means(work / "m.mptq.recipe.json")) <= 4 + 1e-9


def test_the_widths_that_a_search_found_give_the_same_codes_as_pins(searched: tuple[Path, Result], tmp_path: Path):
    """So that they can be quantized again, with learned rounding or on other images, without a search."""
    work, _ = searched
    widths = search_of(work / "m.mptq.recipe.json")["widths"]
    pins = [word for layer, bits in widths.items() for word in ("--pin", f"{layer}={bits}")]
    result = run(work / "m.pt", "--calib", work / "calib", "--bits", "8/8", *pins, "-o", tmp_path / "pinned.onnx")
    assert result.exit_code == 0, (result.output, result.exception)
    found = tmp_path / "pinned.recipe.safetensors"
    assert found.read_bytes() == (work / "m.mptq.recipe.safetensors").read_bytes()


def test_pins_without_a_search(work: Path):
    result = run(
        work / "m.pt", "--calib", work / "calib", "--bits", "4/3", "--pin", "blocks.0.*=6/6", "--pin", "*.fc1=8/7"
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert "4/3, 7 layers pinned (weights/activations)" in result.stdout
    recipe = read_recipe(work / "m.mptq.recipe.json")
    for name, quant in recipe.weights.items():
        read = recipe.activations[f"{name}.input"].bits
        if name.endswith("fc1"):
            assert (quant.bits, read) == (8, 7)
        elif name.startswith("blocks.0"):
            assert (quant.bits, read) == (6, 6)
        else:
            assert (quant.bits, read) == (4, 8 if name.startswith("patch_embed") else 3)
    assert recipe.settings.pins == {"blocks.0.*": "6/6", "*.fc1": "8/7"}
    assert verify_model(work / "m.mptq.onnx", [images(KIND, 2).numpy()]).passed


def test_a_latency_that_is_met(work: Path):
    """Nothing needs to be given up: all layers keep the widest range."""
    result = mixed(work, budget="10s")
    assert result.exit_code == 0, (result.output, result.exception)
    assert set(widths_of(work / "m.mptq.recipe.json").values()) == {(4, 4)}


def test_several_budgets_give_several_files_of_one_search(work: Path):
    path = work / "x.json"
    before = set(files(work))
    result = mixed(work, "--mixed", "2.5", "--mixed", "3.5", "--json", path)
    assert result.exit_code == 0, (result.output, result.exception)
    names = [f"m.mptq.{budget}" for budget in ("3", "2.5", "3.5")]
    expected = {f"{name}.{suffix}" for name in names for suffix in SUFFIXES[:3] + REPORT}
    assert set(files(work)) - before == expected | {"m.mptq.search.json", "x.json"}
    weights = []
    for name, budget in zip(names, (3, 2.5, 3.5), strict=True):
        bits = means(work / f"{name}.recipe.json")
        assert budget - 0.6 < max(bits) <= budget + 1e-9
        assert verify_model(work / f"{name}.onnx", [images(KIND, 1).numpy()]).passed
        weights.append(bits[0])
    assert weights[1] < weights[0] < weights[2]
    exports = json.loads(path.read_text())["exports"]
    assert len(exports) == 3
    assert len({json.dumps(export, sort_keys=True) for export in exports}) == 3


def test_a_file_size_is_kept(work: Path):
    common = (work / "m.pt", "--calib", work / "calib")
    assert run(*common, "--bits", "6/6", "-o", work / "high.onnx").exit_code == 0
    assert run(*common, "--bits", "4/6", "-o", work / "low.onnx").exit_code == 0
    high, low = ((work / f"{name}.onnx").stat().st_size for name in ("high", "low"))
    most = (high + low) // 2
    assert low < most - 3000  # there is something between the two
    assert run(*common, "--mixed", f"{most / 1000}kB", "--mixed-range", "4-6").exit_code == 0
    assert most * 0.85 < (work / "m.mptq.onnx").stat().st_size <= most
    assert {activations for _, activations in widths_of(work / "m.mptq.recipe.json").values()} == {6}  # they are free


def test_the_same_search_gives_the_same_bytes(tmp_path: Path, searched: tuple[Path, Result], memory: Memory):
    folder, _ = searched
    memory.forget()
    assert mixed(folder, "-o", tmp_path / "b.onnx", budget=BETWEEN).exit_code == 0
    for suffix in SUFFIXES[:3]:
        assert (tmp_path / f"b.{suffix}").read_bytes() == (folder / f"m.mptq.{suffix}").read_bytes()
    assert front(tmp_path / "b.search.json") == front(folder / "m.mptq.search.json")


# -- interruptions -----------------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_to_the_same_bytes(work: Path, cut: Callable[[int], None]):
    several = ("--mixed", "2.5")
    assert mixed(work, *several, "-o", work / "a.onnx").exit_code == 0
    out = work / "b.onnx"
    for number, resume in ((4, ()), (3, ("--resume",)), (6, ("--resume",))):
        cut(number)
        assert mixed(work, *several, *resume, "-o", out).exit_code != 0
        assert not list(work.glob("b.*onnx"))
        assert (work / "b.search.jsonl").exists()
    lines = (work / "b.search.jsonl").read_text().splitlines()
    assert len(lines) == 3 + 3 + 2 + 5  # the search, the times, what was searched, and what three runs measured
    with (work / "b.search.jsonl").open("a") as journal:
        journal.write('{"widths": "44 43')  # kill -9 in the middle of a line
    cut(0)
    result = mixed(work, *several, "--resume", "-o", out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert not (work / "b.search.jsonl").exists()
    for name in ("3.onnx", "3.recipe.json", "3.recipe.safetensors", "2.5.onnx", "2.5.recipe.json"):
        assert (work / f"a.{name}").read_bytes() == (work / f"b.{name}").read_bytes()
    assert front(work / "a.search.json") == front(work / "b.search.json")


def test_a_finished_search_is_not_measured_again(work: Path, cut: Callable[[int], None]):
    """Interrupted while it writes: the search itself is complete."""
    request = searching(work / "m.pt", work / "m.mptq.onnx", ("3",), images=work / "calib", count=128)
    with pytest.raises(KeyboardInterrupt):
        export_model(request, Interrupting("checking"))
    cut(1)
    result = mixed(work, "--resume")
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture
def interrupted(work: Path, journal: bytes) -> Path:
    """A working folder with the journal of an interrupted search."""
    (work / "m.mptq.search.jsonl").write_bytes(journal)
    return work


def test_a_journal_is_not_lost_by_accident(interrupted: Path, refused: Callable[..., str]):
    arguments = (interrupted / "m.pt", "--calib", interrupted / "calib", "--mixed", 3, *RANGE)
    refused(*arguments, words=("m.mptq.search.jsonl", "--resume", "--force"))
    assert mixed(interrupted, "--force").exit_code == 0


@pytest.mark.parametrize(
    "changed",
    [
        ("--mixed", "3", "--mixed-range", "2-5"),
        ("--mixed", "3", *RANGE, "--tied"),
        ("--mixed", "3", *RANGE, "--pin", "head=8/8"),
        ("--mixed", "3", *RANGE, "--method", "paper"),
        ("--mixed", "3", *RANGE, "--count", "4"),
    ],
)
def test_the_journal_of_other_options(interrupted: Path, refused: Callable[..., str], changed: tuple[str, ...]):
    arguments = (interrupted / "m.pt", "--calib", interrupted / "calib", *changed, "--resume")
    refused(*arguments, words=("m.mptq.search.jsonl", "another search", "without --resume"))


def test_the_journal_of_another_model(interrupted: Path, refused: Callable[..., str]):
    state = dict(tiny(KIND).state_dict())
    key = "blocks.1.mlp.fc1.weight"
    save(interrupted / "m.pt", state_dict={**state, key: state[key] * 1.01})
    arguments = (interrupted / "m.pt", "--calib", interrupted / "calib", "--mixed", 3, *RANGE, "--resume")
    refused(*arguments, words=("m.mptq.search.jsonl", "another search", "without --resume"))


def test_what_is_no_journal(work: Path, refused: Callable[..., str]):
    (work / "m.mptq.search.jsonl").write_text("something else\n")
    arguments = (work / "m.pt", "--calib", work / "calib", "--mixed", 3, *RANGE, "--resume")
    refused(*arguments, words=("m.mptq.search.jsonl", "is not the journal of a search"))


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mixed", "5", "--bits", "4/4"), ("--mixed and --bits exclude each other",)),
        (("--pin", "haed=8/8"), ("--pin haed matches no layer",)),
        (("--tied",), ("--tied belongs to --mixed",)),
        (("--resume",), ("--resume goes on with a search (--mixed) or with --reconstruct",)),
        (("--mixed-range", "3-8"), ("--mixed-range belongs to --mixed",)),
        (("--mixed", "four"), ("--mixed four is neither", "4.5", "12MB")),
        (("--mixed", "0"), ("--mixed 0 is neither",)),
        (("--mixed", "5", "--mixed", "12TB"), ("--mixed 12TB is neither",)),
        (("--mixed", "5", "--mixed", "5"), ("names a budget twice",)),
        (("--mixed", "5", "--mixed", " 5"), ("names a budget twice",)),
        (("--mixed", "9"), ("--mixed 9", "ends at 8")),
        (("--mixed", "5", "--mixed-range", "3-4"), ("--mixed 5", "ends at 4")),
        (("--mixed", "5", "--mixed-range", "8-3"), ("--mixed-range 8-3 is not LO-HI", "3-8")),
        (("--mixed", "5", "--mixed-range", "4-4"), ("--mixed-range 4-4 is not LO-HI",)),
        (("--mixed", "5", "--mixed-range", "1-9"), ("--mixed-range 1-9 is not LO-HI",)),
        (("--mixed", "5", "--pin", "head"), ("--pin head is not PATTERN=W/A", "blocks.0.*=8/8")),
        (("--mixed", "5", "--pin", "=8/8"), ("--pin =8/8 is not PATTERN=W/A",)),
        (("--mixed", "5", "--pin", "head=9/8"), ("--pin 9/8 is not W/A",)),
        (("--mixed", "5", "--pin", "haed=8/8"), ("--pin haed matches no layer", "blocks.0.attn.qkv")),
        (("--mixed", "5", "--resume"), ("--resume", "there is no journal", "m.mptq.search.jsonl")),
        (("--mixed", "40kB", "--weight-storage", "int8"), ("file size", "--weight-storage packed")),
        (("--mixed", "1.9", *RANGE), ("--mixed 1.9 cannot be met", "2.00/2.00", "raise the budget")),
        (("--mixed", "10kB", *RANGE), ("--mixed 10kB cannot be met", "MB")),
        (("--mixed", "1us", *RANGE), ("--mixed 1us cannot be met", " ms", "not a faster one")),
        (("--mixed", "3", *RANGE, "--pin", "*=8/8"), ("--mixed 3 cannot be met", "8.00/8.00", "pins stand")),
    ],
)
def test_what_is_refused(work: Path, refused: Callable[..., str], options: tuple[str, ...], words: tuple[str, ...]):
    refused(work / "m.pt", "--calib", work / "calib", *options, words=words)


def test_a_recipe_is_not_searched_again(work: Path, refused: Callable[..., str]):
    arguments = (work / "m.pt", "--recipe", work / "x.json", "--mixed", 5)
    refused(*arguments, words=("--mixed and --recipe exclude each other",))


@pytest.mark.parametrize("name", ["m.mptq.onnx", "m.mptq.recipe.json", "m.mptq.search.json"])
def test_no_output_is_replaced_unasked(work: Path, refused: Callable[..., str], name: str):
    (work / name).write_text("precious")
    arguments = (work / "m.pt", "--calib", work / "calib", "--mixed", 3, *RANGE)
    refused(*arguments, words=(name, "exists already", "--force"))


@pytest.mark.parametrize("name", ["m.mptq.onnx", "m.mptq.search.json", "m.mptq.search.jsonl"])
def test_the_summary_is_no_output(work: Path, refused: Callable[..., str], name: str):
    arguments = (work / "m.pt", "--calib", work / "calib", "--mixed", 3, *RANGE, "--json", work / name)
    refused(*arguments, words=(name, "choose another file"))


def test_one_of_several_outputs_exists(work: Path, refused: Callable[..., str]):
    (work / "m.mptq.2.5.onnx").write_text("precious")
    arguments = (work / "m.pt", "--calib", work / "calib", "--mixed", 3, "--mixed", 2.5, *RANGE)
    refused(*arguments, words=("m.mptq.2.5.onnx", "exists already", "--force"))
