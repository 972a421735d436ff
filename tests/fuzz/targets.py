"""What reads a stranger's file: how its sample is made, how it is damaged, and what must survive that."""

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random

import numpy as np
import onnx
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tiny_models import KINDS, quantized, tiny

from kernels_ref import Interpreter, InterpreterError
from mptq_export.cli.verify import main as verify
from mptq_export.emit.exact.emitter import emit
from mptq_export.export.replay import replay_settings
from mptq_export.export.write import tie
from mptq_export.load.loaders import load_model
from mptq_export.recipe.settings import NamedClasses, SearchFacts, Solver
from mptq_export.recipe.store import read_recipe, recipe_writers
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_recipe

from . import damage

Damage = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        files: the sample's files, which are damaged one at a time, each with its ways.
        read: reads the files of a folder; True if it took them, False if it refused them in one line.
    """

    files: dict[str, tuple[Damage, ...]]
    read: Callable[[Path], bool]


def write_samples(folder: Path) -> None:
    """All undamaged files: checkpoints, one with more beside its weights, an export, what hostile files point at."""
    arch, kwargs = KINDS["vit"]
    state = dict(tiny("vit").state_dict())
    torch.save(
        {"arch": arch, "model_kwargs": kwargs, "state_dict": state, "class_names": list("abcdefg")}, folder / "m.pt"
    )
    beside = [
        Path("a"),
        np.arange(3),
        np.float32(2),
        datetime(2020, 1, 1),
        Namespace(a={1}),
        defaultdict(list),
        _refused,
    ]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": state, "x": beside}, folder / "m.ckpt")
    save_file(state, folder / "m.safetensors", {"arch": arch, "model_kwargs": json.dumps(kwargs)})
    graph, recipe = quantized("vit", lambda layer: (2, 5) if layer.endswith("fc1") else (4, 8))
    classes = NamedClasses(tuple("abcdefg"), "checkpoint")
    divergence: dict[Solver, float | None] = {"greedy": 0.5, "integer programme": None}
    search = SearchFacts("4", (2, 5), False, "greedy", (3.5, 4.5), divergence, 7, {"head": "2/5"}, {"head:both": 0.1})
    recipe.settings = replace(recipe.settings, features=(0,), classes=classes, search=search)
    metadata = {"preprocessing.input_size": "[3, 32, 32]", "preprocessing.mean": "[0.5, 0.5, 0.5]"}
    model = emit(graph, recipe, input_type="float32", producer="1")
    onnx.helper.set_model_props(model, metadata)
    tie(model, recipe)
    onnx.save(model, folder / "m.onnx")
    write_together(recipe_writers(recipe, folder / "m.onnx"))


def one_line(message: str) -> bool:
    """Whether a message can be shown as it is."""
    return 0 < len(message) < 4000


def _refused(read: Callable[[], object]) -> bool:
    try:
        read()
    except (MptqError, InterpreterError) as error:
        assert one_line(str(error)), str(error)[:5000]
        return False
    return True


def _checkpoint(name: str) -> Callable[[Path], bool]:
    return lambda folder: _refused(lambda: load_model(folder / name))


def _recipe(folder: Path) -> bool:
    path = folder / "m.recipe.json"

    def read() -> None:
        replay_settings(path, read_recipe(path), None, None, None)
        origin = check_recipe(load_onnx(folder / "m.onnx"), path)
        assert all(map(one_line, origin.problems))

    return _refused(read)


def _reference(folder: Path) -> bool:
    """kernels_ref on zeros, with every tensor."""

    def read() -> None:
        model = Interpreter(folder / "m.onnx")
        model.run({"input": np.zeros((1, 3, 32, 32), np.float32)})
        model.run({"input": np.full((1, 3, 32, 32), np.nan, np.float32)}, trace=True)

    return _refused(read)


def _verify(folder: Path) -> bool:
    """The whole command. onnxruntime may end the process: run it in one that may."""
    arguments = [str(folder / "m.onnx"), "--random", "1", "--threads", "1"]
    result = CliRunner().invoke(verify, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2, 3), result.output
    if result.exit_code == 2:
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.exit_code != 2


_ONNX = (damage.onnx_model, damage.onnx_model, damage.file_bytes)
TARGETS: dict[str, Target] = {
    "checkpoint.pt": Target(
        {"m.pt": (damage.pt_checkpoint, damage.pt_checkpoint, damage.file_bytes)}, _checkpoint("m.pt")
    ),
    "checkpoint.ckpt": Target(
        {"m.ckpt": (damage.pickle_in_archive, damage.pickle_in_archive, damage.file_bytes)}, _checkpoint("m.ckpt")
    ),
    "checkpoint.safetensors": Target(
        {"m.safetensors": (damage.safetensors_header, damage.file_bytes)}, _checkpoint("m.safetensors")
    ),
    "recipe": Target(
        {
            "m.recipe.json": (damage.recipe_json, damage.recipe_json, damage.file_bytes),
            "m.recipe.safetensors": (damage.recipe_tensors, damage.safetensors_header, damage.file_bytes),
        },
        _recipe,
    ),
    "kernels_ref": Target({"m.onnx": _ONNX}, _reference),
    "mptq-verify": Target({"m.onnx": _ONNX}, _verify),
}


def damaged(target: Target, folder: Path, random: Random) -> None:
    """Damage one file of a sample in place."""
    name = random.choice(sorted(target.files))
    random.choice(target.files[name])(folder / name, random)
