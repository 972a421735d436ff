"""Reading checkpoint files: every layout that is supported, and every file that is not."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from mptq_export.load.file.checkpoint import read_checkpoint
from mptq_export.support.errors import MptqError


class RunsCode:
    """Creates the file `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {"a.weight": torch.full((2, 3), value, dtype=torch.float16), "steps": torch.tensor(3)}


def save(path: Path, content: Any, **kwargs: Any) -> Path:
    torch.save(content, path, **kwargs)
    return path


def refusal(path: Path, *, trust: bool = False) -> str:
    with pytest.raises(MptqError) as caught:
        read_checkpoint(path, trust=trust)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_ema", "state_dict_ema"])
def test_a_state_dict_bare_or_under_a_usual_key(tmp_path: Path, suffix: str, key: str | None):
    read = read_checkpoint(save(tmp_path / f"m{suffix}", tensors() if key is None else {key: tensors(), "epoch": 3}))
    assert list(read.state_dict) == ["a.weight", "steps"]
    assert read.state_dict["a.weight"].dtype == torch.float32
    assert read.state_dict["steps"].dtype == torch.int64
    assert (read.arches, read.model_kwargs, read.module, read.class_names) == ((), {}, None, None)


def test_averaged_weights_come_first(tmp_path: Path):
    content = {"state_dict": tensors(1), "model_ema": tensors(2), "state_dict_ema": tensors(3), "model": tensors(4)}
    for value in (3, 2, 1, 4):
        read = read_checkpoint(save(tmp_path / "m.pt", content))
        assert read.state_dict["a.weight"][0, 0] == value
        del content[next(key for key in content if content[key]["a.weight"][0, 0] == value)]
        if not content:
            break


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_prefixes_are_stripped(tmp_path: Path, prefix: str):
    content = {"state_dict": {prefix + name: tensor for name, tensor in tensors().items()}}
    assert list(read_checkpoint(save(tmp_path / "m.pt", content)).state_dict) == ["a.weight", "steps"]


def test_a_prefix_of_some_tensors_only_is_a_name(tmp_path: Path):
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert list(read_checkpoint(save(tmp_path / "m.pt", content)).state_dict) == ["module.a", "b"]


@pytest.mark.parametrize(
    "about",
    [
        {"arch": "vit_x"},
        {"args": {"model": "vit_x", "lr": 0.1}},
        {"args": argparse.Namespace(model="vit_x", lr=0.1)},
        {"arch": None, "args": argparse.Namespace(model="vit_x")},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_architecture_is_read(tmp_path: Path, about: dict[str, Any], zipped: bool):
    path = save(tmp_path / "m.pt", {"model": tensors(), **about}, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path).arches == ("vit_x",)


def test_arguments_names_and_preprocessing_are_read(tmp_path: Path):
    content = {
        "state_dict": tensors(),
        "model_kwargs": {"num_classes": 2},
        "class_names": ["cat", "dog"],
        "pretrained_cfg": {"crop_pct": 1.0},
    }
    read = read_checkpoint(save(tmp_path / "m.pt", content))
    assert read.model_kwargs == {"num_classes": 2}
    assert read.class_names == ("cat", "dog")
    assert read.pretrained_cfg == {"crop_pct": 1.0}


def test_safetensors_with_metadata(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    metadata = {"arch": "vit_x", "model_kwargs": '{"num_classes": 2}', "class_names": '["cat", "dog"]'}
    safetensors.torch.save_file(tensors(), path, metadata)
    read = read_checkpoint(path)
    assert read.state_dict["a.weight"].dtype == torch.float32
    assert (read.arches, read.model_kwargs, read.class_names) == (("vit_x",), {"num_classes": 2}, ("cat", "dog"))


def test_safetensors_metadata_that_is_not_json(tmp_path: Path):
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(tensors(), path, {"model_kwargs": "num_classes=2"})
    assert "model_kwargs is not JSON" in refusal(path)


def test_a_pickled_module_needs_trust(tmp_path: Path):
    path = save(tmp_path / "m.pt", nn.Linear(2, 3))
    assert "torch.nn.modules.linear.Linear" in refusal(path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": nn.Linear(2, 3)}))
    for each in (path, tmp_path / "m.pkl"):
        read = read_checkpoint(each, trust=True)
        assert isinstance(read.module, nn.Linear)
        assert list(read.state_dict) == ["weight", "bias"]


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, zipped: bool):
    trap = tmp_path / "trap"
    path = save(tmp_path / "m.pt", {"model": tensors(), "x": RunsCode(trap)}, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "would run code" in message
    assert "mkdir" in message
    assert "--trust" in message
    assert not trap.exists()


def test_code_in_a_plain_pickle_does_not_run(tmp_path: Path):
    trap = tmp_path / "trap"
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(RunsCode(trap)))
    assert "would run code" in refusal(path)
    assert not trap.exists()


def test_missing(tmp_path: Path):
    assert "does not exist" in refusal(tmp_path / "none.pt")
    assert "is a folder" in refusal(tmp_path)


def test_another_kind_of_file(tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x0a\x12\x07pytorch")
    assert "named as an ONNX file" in refusal(path)
    assert "neither a file of torch.save nor safetensors" in refusal(path.rename(tmp_path / "m.pt"))
    path.write_bytes(b"")
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated(tmp_path: Path, share: float, zipped: bool):
    path = save(tmp_path / "m.pt", {"state_dict": tensors()}, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated or corrupt" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_safetensors(tmp_path: Path, share: float):
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(tensors(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated or corrupt" in refusal(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", bytes(range(256)) * 20])
def test_not_a_checkpoint_at_all(tmp_path: Path, content: bytes):
    path = tmp_path / "m.pth"
    path.write_bytes(content)
    assert "truncated or corrupt" in refusal(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {"state_dict": {"a": 1}}])
def test_no_state_dict_inside(tmp_path: Path, content: Any):
    assert "holds no state dict" in refusal(save(tmp_path / "m.pt", content))


def test_model_kwargs_of_the_wrong_kind(tmp_path: Path):
    path = save(tmp_path / "m.pt", {"state_dict": tensors(), "model_kwargs": "num_classes=3"})
    assert "model_kwargs is a str" in refusal(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, bad: float):
    content = tensors()
    content["a.weight"][1, 2] = bad
    message = refusal(save(tmp_path / "m.pt", content))
    assert "a.weight" in message
    assert "1 NaN or Inf in 6" in message
