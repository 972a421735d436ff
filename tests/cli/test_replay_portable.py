"""A portable export whose residual is rotated, and the same file from its recipe."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from remembered import Memory
from tiny_models import tiny

from mptq_export.recipe.store import read_recipe, recipe_writers
from mptq_export.support.files import write_together

from .helpers import run, save

Rotations = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a model whose residual has channels that stand out."""
    folder = tmp_path_factory.mktemp("portable")
    weights = {name: value.clone() for name, value in tiny("vit").state_dict().items()}
    weights["patch_embed.proj.weight"][[3, 5, 17]] *= 40
    model = save(folder / "m.pt", "vit", state_dict=weights)
    options = ("--target", "qnn", "--residual-bits", 8, "--bits", "8/8", "--method", "best")
    result = run(model, "--count", 16, *options)
    assert result.exit_code == 0, (result.output, result.exception)
    return folder / "m.mptq.recipe.json"


def test_the_replay_of_a_rotated_residual_gives_the_same_bytes(exported: Path, memory: Memory):
    assert list(read_recipe(exported).rotations) == ["blocks.0.norm1"]
    memory.forget()
    result = run(exported.with_name("m.pt"), "--recipe", exported, "-o", exported.with_name("again.onnx"))
    assert result.exit_code == 0, (result.output, result.exception)
    for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
        assert exported.with_name(f"again.{suffix}").read_bytes() == exported.with_name(f"m.mptq.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("rotations", "words"),
    [
        ({"blocks.7.norm1": np.eye(32)}, "rotations names blocks.7.norm1"),
        ({"blocks.0.norm1": np.eye(16)}, "the rotation of blocks.0.norm1 has shape"),
        ({"blocks.0.norm1": 2 * np.eye(32)}, "is no orthogonal matrix"),
    ],
)
def test_a_rotation_that_the_model_cannot_have(
    exported: Path, tmp_path: Path, rotations: dict[str, NDArray[np.float64]], words: str
):
    recipe = read_recipe(exported)
    recipe.rotations = rotations
    write_together(recipe_writers(recipe, tmp_path / "edited.onnx"))
    result = run(exported.with_name("m.pt"), "--recipe", tmp_path / "edited.recipe.json", "-o", tmp_path / "b.onnx")
    assert result.exit_code == 2
    assert words in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "b.onnx").exists()
