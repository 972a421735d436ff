"""`package.module:name` and programs of `torch.export`: what is made, and what is told of what goes wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_modules
import pytest
import torch
from own_modules import SIZE, Four, Scores, made
from torch import nn

from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.load.run import load
from mptq_export.support.errors import MptqError

INPUTS = InputOptions(mean=(0.5,), std=(0.5,), img_size=SIZE[1:])


def loaded(name: object, **options: Any) -> LoadedModel:
    return load_asked(ModelRequest(str(name), **{"inputs": INPUTS, **options}))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to import from; what was imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    yield tmp_path


@pytest.mark.parametrize("name", ["own_modules:four", "own_modules:SCORES", "own_modules:Scores"])
def test_a_function_a_module_and_a_class(name: str):
    found = loaded(name)
    assert (found.library, found.arch_source) == ("module", f"made by {name}")
    assert found.arch == ("Four" if name.endswith("four") else "Scores")


def test_a_package_of_the_folder_that_one_is_in(here: Path):
    (here / "mine_of_here").mkdir()
    (here / "mine_of_here" / "models.py").write_text("from own_modules import four as build\n")
    assert loaded("mine_of_here.models:build").arch == "Four"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_modulez:four", r"names the Python module own_modulez, and there is none here"),
        ("own_modules:fuor", r"there is no fuor, but four"),
        ("own_modules:NUMBER", r"is a int; name a function that returns the model"),
        ("own_modules:made", r"needs kind; name a function without arguments"),
        ("own_modules:wanting", r"needs path"),
        ("own_modules:nn.Identity", r"fails on|needs more|gives"),
        (
            "own_modules:broken",
            r"it failed at \S*own_modules.py:\d+ \(raise FileNotFoundError.*: FileNotFoundError: weights.pt is not",
        ),
        ("own_modules.deeper:four", r"own_modules.deeper cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_name(name: str, words: str):
    if name.endswith("Identity"):
        assert loaded(name).outputs[0].kind == "map"
        return
    with pytest.raises(MptqError, match=words) as caught:
        loaded(name)
    assert "\n" not in str(caught.value)


def test_code_that_does_not_compile_or_that_ends(here: Path):
    (here / "uncompiled_of_here.py").write_text("import torch\ndef make(:\n")
    with pytest.raises(MptqError, match=r"cannot be imported at .*uncompiled_of_here.py:2: SyntaxError"):
        loaded("uncompiled_of_here:make")
    (here / "ending_of_here.py").write_text("raise SystemExit('usage: train.py')\n")
    with pytest.raises(MptqError, match=r"ending_of_here.py:1 .*SystemExit: usage: train.py"):
        loaded("ending_of_here:make")


# -- programs ----------------------------------------------------------------------------------------------------------


def program(model: nn.Module, *, dynamic: bool = True) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
    return torch.export.export(model, (torch.zeros(2, *SIZE),), dynamic_shapes=shapes)


def test_a_program_is_read_where_it_is_trusted(tmp_path: Path):
    path = tmp_path / "program.bin"  # told by its content
    torch.export.save(program(made(Scores)), path)
    inputs = InputOptions(mean=(0.5,), std=(0.5,))
    with pytest.raises(MptqError, match=r"is a program of torch.export, and reading one may run code.*--trust"):
        loaded(path, inputs=inputs)
    found = loaded(path, trust=True, inputs=inputs, outputs=("logits",))
    assert (found.arch, found.library, found.preprocessing.input_size) == ("Scores", "module", SIZE)
    assert found.input_sources["img_size"] == "the program"
    x = torch.randn(3, *SIZE)
    assert torch.equal(found.model(x), made(Scores)(x))


def test_programs_in_python():
    given = program(made(Scores))
    found = load(given, mean=0.5, std=0.5, class_names=list("abcde"))
    assert (found.outputs[0].kind, found.class_names) == ("logits", tuple("abcde"))
    assert "patch.weight" in found.model.state_dict()  # layers keep their names


def test_a_program_of_one_number_of_images():
    class Still(Scores):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    given = program(made(Still), dynamic=False)  # its steps hold no size of a batch
    assert load(given, mean=0.5, std=0.5).model(torch.zeros(5, *SIZE)).shape == (5, 5)
    with pytest.raises(MptqError, match="was made for one number of images; export it again with dynamic_shapes="):
        load(program(made(Scores), dynamic=False), mean=0.5, std=0.5)


def test_programs_of_other_inputs(tmp_path: Path):
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return x * mask

    both = torch.export.export(Sum(), (torch.zeros(2, *SIZE), torch.zeros(2, *SIZE)))
    with pytest.raises(MptqError, match="needs more than pixels: it takes x, mask"):
        load(both, mean=0.5, std=0.5)
    flat = torch.export.export(nn.Linear(4, 4), (torch.zeros(2, 4),))
    with pytest.raises(MptqError, match="takes 2 x 4, not a number of images x channels x height x width"):
        load(flat, mean=0.5, std=0.5)
    path = tmp_path / "m.pt2"
    torch.export.save(program(made(Scores)), path)
    path.write_bytes(path.read_bytes().replace(b'"schema_version"', b'"schema_versiom"'))
    with pytest.raises(MptqError, match="cannot be read by the installed torch"):
        loaded(path, trust=True)


def test_a_pickled_module_of_ones_own(tmp_path: Path):
    path = tmp_path / "m.pth"
    torch.save(made(Four), path)
    with pytest.raises(MptqError, match="nothing says how the pixels of Four are normalised"):
        loaded(path, trust=True, inputs=InputOptions(img_size=SIZE[1:]))
    assert [each.name for each in loaded(path, trust=True).outputs][:2] == ["logits", "pred_boxes"]
    config = {"input_size": SIZE, "mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear"}
    torch.save({"model": made(Four), "pretrained_cfg": config, "class_names": list("abcde")}, path)
    found = loaded(path, trust=True, inputs=InputOptions())
    assert (found.preprocessing.interpolation, found.class_names) == ("bilinear", tuple("abcde"))
    assert found.input_sources["mean"] == "the checkpoint"
    assert own_modules.Four.__name__ == found.arch
