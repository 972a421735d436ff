"""mptq-export --profile sonnx and mptq-verify --profile sonnx, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from remembered import Memory

from mptq_export.cli.eval import main as evaluate
from mptq_export.cli.verify import main as verify
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Replayed, Uniform
from mptq_export.recipe.settings import FileProfile
from mptq_export.recipe.store import read_recipe
from mptq_export.runtime.graph_input import declared_input
from mptq_export.support.errors import MptqError
from mptq_export.verify.onnx_file import metadata_of

from .conftest import filled
from .helpers import run, save

ENDS = ("onnx", "recipe.json", "recipe.safetensors")


def check(path: Path, *arguments: object) -> Result:
    return CliRunner().invoke(verify, [str(each) for each in (path, "--profile", "sonnx", *arguments)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of m.pt, plain and spelled out."""
    folder = filled(tmp_path_factory.mktemp("profile"))
    for out, options in (("plain", ()), ("spelled", ("--profile", "sonnx"))):
        done = run(
            folder / "m.pt",
            "--calib",
            folder / "calib",
            "--bits",
            "4/5",
            *options,
            "-o",
            folder / f"{out}.onnx",
            "--json",
            folder / f"{out}.json",
        )
        assert done.exit_code == 0, (done.output, done.exception)
    return folder


def test_a_spelled_file_obeys_every_rule_and_is_the_plain_one(exported: Path):
    found = json.loads((exported / "spelled.json").read_text())
    profile = found["profile"]
    assert (profile["name"], profile["batch"], profile["broken"]) == ("sonnx", 1, 0)
    assert profile["differing_from_plain"] == 0 and profile["compared_with_plain"] > 10_000
    assert "packed weights" not in profile["exceptions"]  # a byte a weight where nothing else is asked for
    assert found["differing_values"] == 0 and found["float_matmuls"] == 0
    assert found["kernels"] == json.loads((exported / "plain.json").read_text())["kernels"]
    model = onnx.load(exported / "spelled.onnx")
    assert declared_input(model).shape == (1, 3, 32, 32)
    assert metadata_of(model)["mptq.profile"] == "sonnx"
    assert "standard deviation" in model.graph.input[0].doc_string and "classes" in model.graph.output[0].doc_string
    settings = read_recipe(exported / "spelled.recipe.json").settings
    assert (settings.profile, settings.weight_storage) == (FileProfile("sonnx", 1), "int8")


def test_the_checker_tells_the_two_apart(exported: Path, tmp_path: Path):
    good, bad = check(exported / "spelled.onnx", "--json", tmp_path / "r.json"), check(exported / "plain.onnx")
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "every rule holds, but for" in good.stdout and "(-v names all)" in good.stdout
    assert "BROKEN: " in bad.stdout and "O6" in bad.stdout.splitlines()[-1]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"] and report["model"].endswith("spelled.onnx")
    assert {rule["rule"] for rule in report["rules"]} >= {"F1", "G2", "O4", "O6", "R7"}
    for exception in report["exceptions"]:
        places = [
            each["place"]
            for rule in report["rules"]
            for each in rule["exceptions"]
            if each["exception"] == exception["name"]
        ]
        assert len(places) == exception["places"] > 0 and exception["reason"]


def test_every_node_is_named_with_v(exported: Path):
    told = check(exported / "spelled.onnx", "-v").stdout
    names = [node.name for node in onnx.load(exported / "spelled.onnx").graph.node if node.op_type == "Gelu"]
    assert len(names) == 2 and all(f"{name}: Gelu" in told for name in names)
    assert "from deliverables/reqs/reqs.md (1598dbc), REQ-OP-070 No default value" in told


def test_a_replay_gives_the_same_bytes(exported: Path, memory: Memory):
    """Of its own recipe without a word, and of the plain one with --profile."""
    memory.forget()
    for name, options in (("spelled", ()), ("plain", ("--profile", "sonnx"))):
        out = exported / f"again_{name}.onnx"
        done = run(exported / "m.pt", "--recipe", exported / f"{name}.recipe.json", *options, "-o", out)
        assert done.exit_code == 0, (done.output, done.exception)
        for end in ENDS:
            assert out.with_suffix(f".{end}").read_bytes() == (exported / f"spelled.{end}").read_bytes(), (name, end)


def test_another_batch_and_none_at_all(exported: Path):
    recipe = exported / "spelled.recipe.json"
    three, free = exported / "three.onnx", exported / "free.onnx"
    assert run(exported / "m.pt", "--recipe", recipe, "--batch", 3, "-o", three).exit_code == 0
    assert run(exported / "m.pt", "--recipe", recipe, "--profile", "none", "-o", free).exit_code == 0
    assert declared_input(onnx.load(three)).shape == (3, 3, 32, 32)
    assert declared_input(onnx.load(free)).shape == ("batch", 3, 32, 32)
    assert check(three).exit_code == 0
    assert CliRunner().invoke(verify, [str(three)]).exit_code == 0
    assert "mptq.profile" not in metadata_of(onnx.load(free))
    # Four images in steps of three: the last step is filled up, and what fills it does not count.
    (exported / "names.txt").write_text("\n".join(f"class{number}" for number in range(7)))
    data = ("--data", exported / "calib", "--limit", 4, "--class-map", exported / "names.txt")
    done = CliRunner().invoke(evaluate, [str(each) for each in (three, *data)])
    assert done.exit_code == 0 and "4 images" in done.stdout, (done.output, done.exception)


@pytest.mark.parametrize(
    ("kind", "options", "dtype"),
    [
        ("swin", ("--features", "0,1"), "float32"),
        ("vit", ("--input", "uint8", "--batch", "2", "--kit"), "uint8"),
    ],
)
def test_maps_pixels_and_a_kit(tmp_path: Path, kind: str, options: tuple[str, ...], dtype: str):
    path, out = save(tmp_path / "m.pt", kind), tmp_path / "s.onnx"
    told = [*options, tmp_path / "kit"] if "--kit" in options else list(options)
    done = run(path, "--count", 8, "--profile", "sonnx", *told, "-o", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "0 broken" in done.stdout
    model = onnx.load(out)
    assert declared_input(model).dtype == dtype
    assert all(end.doc_string for end in (*model.graph.input, *model.graph.output))
    assert len(model.graph.output) == (2 if "--features" in options else 1)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--profile", "sonnx", "--target", "qnn"), ("--profile sonnx", "--target qnn has another one")),
        (("--profile", "sonnx", "--one-file"), ("--profile sonnx and --one-file exclude each other",)),
        (("--batch", "2"), ("--batch is that of a file of --profile sonnx",)),
        (("--profile", "none", "--batch", "2"), ("--batch is that of a file of --profile sonnx",)),
        (("--profile", "sonnx", "--mixed", "1MB"), ("--mixed with a file size needs --weight-storage packed",)),
    ],
)
def test_what_does_not_go_together(
    work: Path, refused: Callable[..., str], options: tuple[str, ...], words: tuple[str, ...]
):
    refused(work / "m.pt", "--calib", work / "calib", *options, words=words)


def test_a_batch_goes_with_a_recipe_that_has_a_profile(exported: Path):
    done = run(exported / "m.pt", "--recipe", exported / "plain.recipe.json", "--batch", 2, "-o", exported / "x.onnx")
    assert done.exit_code == 2 and "plain.recipe.json has not; add the profile" in done.stderr


def test_outputs_refuse_what_no_command_line_says():
    with pytest.raises(MptqError, match="profile 'misra' is not known; choose one of none, sonnx"):
        Outputs(Path("m.onnx"), profile="misra")  # type: ignore[arg-type]
    with pytest.raises(MptqError, match="--batch 0"):
        Outputs(Path("m.onnx"), profile="sonnx", batch=0).fitting(Uniform())
    assert Outputs(Path("m.onnx"), profile="sonnx").fitting(Replayed(Path("r.json"))).weight_storage is None


@pytest.mark.parametrize(
    "options", [("--random", 2), ("--batch", 1), ("--recipe", "r.json"), ("--runtime", "qnn"), ("--threads", 1)]
)
def test_the_checker_runs_nothing(exported: Path, options: tuple[object, ...]):
    done = check(exported / "spelled.onnx", *options)
    assert done.exit_code == 2
    assert f"--profile reads MODEL and runs nothing; leave {options[0]} out" in done.stderr


def test_what_is_no_onnx_file(tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"no")
    done = check(tmp_path / "m.onnx")
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_weights_in_another_file(exported: Path, tmp_path: Path):
    model = onnx.load(exported / "spelled.onnx")
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=1000)
    done = check(tmp_path / "m.onnx")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1].startswith("BROKEN: 1 rules (F3)")


def test_an_older_recipe_has_no_profile(exported: Path, tmp_path: Path):
    content = json.loads((exported / "plain.recipe.json").read_text())
    assert content["settings"].pop("profile") is None
    (tmp_path / "p.recipe.json").write_text(json.dumps(content))
    (tmp_path / "p.recipe.safetensors").write_bytes((exported / "plain.recipe.safetensors").read_bytes())
    assert read_recipe(tmp_path / "p.recipe.json").settings.profile is None
