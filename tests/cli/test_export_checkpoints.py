"""mptq-export refuses a bad checkpoint in one line and leaves nothing behind."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import tiny

from .helpers import ARCH, KIND, KWARGS, save


def test_a_missing_checkpoint(work: Path, refused: Callable[..., str]):
    refused(work / "nope.pt", words=("nope.pt does not exist", "check the path"))
    (work / "empty").mkdir()
    refused(work / "empty", words=("is a folder without weights",))
    (work / "m.h5").write_bytes(b"x")
    refused(work / "m.h5", words=("m.h5", "nor safetensors"))


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_checkpoint(work: Path, refused: Callable[..., str], suffix: str, part: float):
    path = work / f"cut{suffix}"
    if suffix == ".pt":
        shutil.copy(work / "m.pt", path)
    else:
        save_file(dict(tiny(KIND).state_dict()), path, {"arch": ARCH, "model_kwargs": json.dumps(KWARGS)})
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    refused(path, words=(str(path), "truncated or corrupt"))


class Bomb:
    """Unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_that_would_run_code(work: Path, refused: Callable[..., str], plain: bool):
    bomb = Bomb(work / "exploded")
    if plain:
        (work / "bomb.pt").write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"state_dict": bomb}, work / "bomb.pt")
    refused(work / "bomb.pt", words=("bomb.pt would run code", "--trust"))
    assert not (work / "exploded").exists()


def test_a_pickled_module_without_trust(work: Path, refused: Callable[..., str]):
    torch.save(tiny(KIND), work / "module.pt")
    refused(work / "module.pt", words=("module.pt would run code", "--trust"))


def test_an_unknown_architecture(work: Path, refused: Callable[..., str]):
    refused(work / "m.pt", "--arch", "vit_tiny_patch16_225", words=("vit_tiny_patch16_225", "vit_tiny_patch16_224"))
    refused(save(work / "n.pt", arch="my_net"), words=("no architecture 'my_net'",))


def test_tensors_of_no_known_family(work: Path, refused: Callable[..., str]):
    torch.save({"fc.weight": torch.ones(3, 3)}, work / "n.pt")
    refused(work / "n.pt", words=("n.pt", "--arch"))
    torch.save({"weights": 3}, work / "n.pt")
    refused(work / "n.pt", words=("holds no state dict",))


def test_missing_unexpected_and_misshapen_tensors(work: Path, refused: Callable[..., str]):
    state = dict(tiny(KIND).state_dict())
    state["blocks.0.mlp.fc1.bias"] = torch.zeros(9)
    state["blocks.0.norm9.bias"] = state.pop("blocks.0.norm1.bias")
    line = refused(save(work / "n.pt", state_dict=state), words=("n.pt does not fit", ARCH))
    assert "missing blocks.0.norm1.bias" in line
    assert "unexpected blocks.0.norm9.bias" in line
    assert "misshapen blocks.0.mlp.fc1.bias [9] instead of [128]" in line


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(work: Path, refused: Callable[..., str], bad: float):
    state = dict(tiny(KIND).state_dict())
    state["blocks.1.attn.proj.weight"] = state["blocks.1.attn.proj.weight"].clone()
    state["blocks.1.attn.proj.weight"][3, 3] = bad
    refused(save(work / "n.pt", state_dict=state), words=("blocks.1.attn.proj.weight holds 1 NaN or Inf",))


def test_a_weight_so_large_that_calibration_overflows(work: Path, refused: Callable[..., str]):
    state = dict(tiny(KIND).state_dict())
    state["blocks.0.attn.qkv.weight"] = torch.full((96, 32), 3e38)
    refused(save(work / "n.pt", state_dict=state), "--count", 2, words=("not finite", "check the checkpoint"))


def test_a_model_that_has_no_integer_form(work: Path, refused: Callable[..., str]):
    import timm

    name, kwargs = "mobilenetv3_small_050", {"num_classes": 7}
    model = timm.create_model(name, **kwargs)
    torch.save({"arch": name, "model_kwargs": kwargs, "state_dict": model.state_dict()}, work / "n.pt")
    refused(work / "n.pt", "--count", 2, words=("blocks.0.0.se.gate", "hardsigmoid", "not supported"))


def test_a_hub_name_that_does_not_exist(refused: Callable[..., str], work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(work)
    refused("timm:no_such_net", words=("no_such_net",))
