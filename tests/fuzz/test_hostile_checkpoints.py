"""Checkpoints and recipes that were made to do harm: nothing in them runs, nothing grows, nothing else is read."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file, save_file
from tiny_models import KINDS, tiny

from mptq_export.load.file.checkpoint import read_checkpoint
from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaders import load_model
from mptq_export.recipe.store import read_recipe, recipe_writers
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together

ARCH, KWARGS = KINDS["vit"]


def content(**changes: Any) -> dict[str, Any]:
    return {"arch": ARCH, "model_kwargs": KWARGS, "state_dict": dict(tiny("vit").state_dict()), **changes}


def refused(path: Path, *words: str) -> None:
    with pytest.raises(MptqError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 2100
    assert all(word in message for word in words), message


# -- code --------------------------------------------------------------------------------------------------------------


class Runs:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
@pytest.mark.parametrize("where", ["whole", "tensor", "arch", "pretrained_cfg", "key"])
def test_nothing_in_a_checkpoint_runs(tmp_path: Path, save: Callable[[Any, Path], None], where: str):
    trap = Runs(tmp_path / "ran")
    made: dict[str, Any] = {
        "whole": trap,
        "tensor": content(state_dict={"head.weight": trap}),
        "arch": content(arch=trap),
        "pretrained_cfg": content(pretrained_cfg={"mean": trap}),
        "key": {trap: 1},
    }
    save(made[where], tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "m.pt")
    assert not (tmp_path / "ran").exists()


# -- what a checkpoint may not decide ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"pretrained": True},
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained_cfg": {"file": "/etc/passwd"}},
        {"pretrained_cfg_overlay": {"url": "http://127.0.0.1/x"}},
        {"cache_dir": "/root"},
        {"depth": 10**9},
        {"embed_dim": 2**40},
        {"img_size": [10**9, 10**9]},
        {"depth": 65_000, "x": [[[[[1]]]]]},
        {"mlp_ratio": float("inf")},
        {"mlp_ratio": float("nan")},
        {"norm_layer": "x" * 10_000},
        {"norm_layer": "os.system"},
        {"num_heads": 0},
        {7: 1},
    ],
    ids=str,
)
def test_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kwargs: dict[Any, Any]):
    """No file is opened, no network asked, no huge model built: timm is not even called for most."""
    torch.save(content(model_kwargs={**KWARGS, **kwargs}), tmp_path / "m.pt")
    monkeypatch.setattr("timm.models._builder.load_custom_pretrained", forbidden)
    monkeypatch.setattr("timm.models._helpers.load_checkpoint", forbidden)
    refused(tmp_path / "m.pt")


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("a checkpoint made timm read something else")


def test_what_a_checkpoint_may_decide(tmp_path: Path):
    torch.save(content(model_kwargs={**KWARGS, "global_pool": "token", "qkv_bias": True}), tmp_path / "m.pt")
    assert load_model(tmp_path / "m.pt").model_kwargs["qkv_bias"] is True


def test_an_architecture_of_more_blocks_than_tensors(tmp_path: Path):
    torch.save(content(model_kwargs={**KWARGS, "depth": 60_000}), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "depth")


@pytest.mark.parametrize(
    "cfg",
    [
        {"input_size": [3, 10**9, 10**9]},
        {"input_size": "x"},
        {"input_size": [3]},
        {"mean": [float("nan")] * 3},
        {"std": [0, 0, 0]},
        {"mean": "abc"},
        {"crop_pct": -1},
        {"interpolation": "../x"},
        {"crop_mode": 3},
    ],
    ids=str,
)
def test_preprocessing(tmp_path: Path, cfg: dict[str, Any]):
    """It is refused, or the model's own image size is taken."""
    torch.save(content(pretrained_cfg=cfg), tmp_path / "m.pt")
    try:
        loaded = load_model(tmp_path / "m.pt")
    except MptqError as error:
        assert "\n" not in str(error)
    else:
        assert loaded.preprocessing.input_size == (3, 32, 32)


@pytest.mark.parametrize(
    "args",
    [
        {"img_size": 10**9},
        {"img_size": 10**5000},
        {"input_size": [3, -1, 7]},
        {"in_chans": 2**40},
        {"mean": [float("inf")] * 3},
        {"crop_pct": 10**400},
        {"gp": "os.system"},
        {"gp": {}, "bn_eps": []},
        {"model_kwargs": {"checkpoint_path": "/etc/passwd"}},
        {"model_kwargs": {"depth": 10**9}},
        {"class_map": "\x1b[2J\n", "interpolation": "\x1b[2J"},
        {"num_classes": -5},
        {1: 2, None: 3},
    ],
    ids=lambda args: str(next(iter(args))),
)
@pytest.mark.parametrize("options", [{}, {"mean": (0.5,), "img_size": (32, 32), "crop_pct": 1.0}], ids=["", "options"])
def test_args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: dict[Any, Any], options: dict[str, Any]):
    """They are refused in one line, or the model is that of its tensors; nothing that they say steers a terminal."""
    monkeypatch.setattr("timm.models._builder.load_custom_pretrained", forbidden)
    monkeypatch.setattr("timm.models._helpers.load_checkpoint", forbidden)
    torch.save(content(args=args), tmp_path / "m.pt")
    try:
        loaded = load_model(tmp_path / "m.pt", inputs=InputOptions(**options))
    except MptqError as error:
        assert str(error).isprintable() and len(str(error)) < 2100
    else:
        assert loaded.preprocessing.input_size == (3, 32, 32)
        assert all(text.isprintable() for text in (*loaded.warnings, *loaded.notes, *loaded.input_sources.values()))


# -- bombs -------------------------------------------------------------------------------------------------------------


def laughs() -> Any:
    value: Any = ["ha"]
    for _ in range(40):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    "where",
    [
        "whole",
        "arch",
        "model_kwargs",
        "class_names",
        "pretrained_cfg",
        "state_dict",
        "args",
        "args.mean",
        "args.kwargs",
    ],
)
def test_a_small_pickle_of_endless_lists(tmp_path: Path, where: str):
    bomb = laughs()
    if where == "model_kwargs":
        bomb = {**KWARGS, "norm_layer": bomb}
    if where == "pretrained_cfg":
        bomb = {"mean": bomb}
    if where == "args.mean":
        bomb = {"mean": bomb, "crop_mode": bomb, "img_size": bomb}
    if where == "args.kwargs":
        bomb = {"model_kwargs": {"norm_layer": bomb}, "gp": bomb}
    torch.save(bomb if where == "whole" else content(**{where.partition(".")[0]: bomb}), tmp_path / "m.pt")
    assert (tmp_path / "m.pt").stat().st_size < 300_000
    try:
        load_model(tmp_path / "m.pt")
    except MptqError as error:
        assert len(str(error)) < 2100


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (1, 2**45)])
def test_one_number_as_a_huge_tensor(tmp_path: Path, shape: tuple[int, ...]):
    torch.save(content(state_dict={"head.weight": torch.zeros(1).expand(shape)}), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "head.weight", "larger than the file")


def test_a_packed_archive(tmp_path: Path):
    torch.save(content(), tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        archive.writestr("archive/zeros", bytes(2**27))
    refused(tmp_path / "bomb.pt", "more than the file")


@pytest.mark.parametrize(
    "tensor",
    [torch.empty(3, device="meta"), torch.ones(3, 3).to_sparse(), torch.zeros(3, dtype=torch.complex64)],
    ids=["meta", "sparse", "complex"],
)
def test_tensors_that_are_no_weights(tmp_path: Path, tensor: torch.Tensor):
    torch.save(content(state_dict={"head.weight": tensor}), tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "head.weight")


# -- safetensors -------------------------------------------------------------------------------------------------------


def header(path: Path, text: bytes, length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)
    return path


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (b"", None),
        (b"", 2**63),
        (b"{}", 2**40),
        (b"{", None),
        (b"[" * 100_000, None),
        (b'{"a":' * 10_000, None),
        (b'{"a": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4]}}', None),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4398046511104]}}', None),
        (b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}', None),
        (b'{"a": {"dtype": "X1", "shape": [1], "data_offsets": [0, 4]}}', None),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', None),
    ],
)
def test_headers(tmp_path: Path, text: bytes, length: int | None):
    refused(header(tmp_path / "m.safetensors", text, length), "m.safetensors")


@pytest.mark.parametrize("key", ["model_kwargs", "pretrained_cfg", "class_names", "args"])
def test_metadata_that_is_nested_deeper_than_the_stack(tmp_path: Path, key: str):
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "m.safetensors", {key: "[" * 100_000})
    refused(tmp_path / "m.safetensors", key)


# -- recipes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe on disk."""
    from tiny_models import quantized

    write_together(recipe_writers(quantized("vit")[1], tmp_path / "m.onnx"))
    return tmp_path / "m.recipe.json"


def unreadable(recipe: Path) -> None:
    with pytest.raises(MptqError) as caught:
        read_recipe(recipe)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2100


@pytest.mark.parametrize("text", ["[" * 100_000, '{"recipe_version": 2, "weights": ' + '{"a":' * 50_000, "1" * 10**6])
def test_json_that_is_nested_deeper_than_the_stack(recipe: Path, text: str):
    recipe.write_text(text)
    unreadable(recipe)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("exponents", 10**9),
        ("exponents", -(10**9)),
        ("exponents", 1.5),
        ("exponents", "x"),
        ("activations", {"regions": [[10**9, 3]]}),
        ("activations", {"regions": [[1, 10**30]]}),
        ("activations", {"scale": 1e400}),
        ("activations", {"bits": 10**12}),
        ("weights", {"bits": 10**12}),
        ("weights", {"form": 3}),
    ],
    ids=str,
)
def test_numbers_that_no_recipe_has(recipe: Path, section: str, value: Any):
    made = json.loads(recipe.read_text())
    name = sorted(made[section])[0]
    made[section][name] = {**made[section][name], **value} if isinstance(value, dict) else value
    recipe.write_text(json.dumps(made))
    unreadable(recipe)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: x[None],
        lambda x: x[:0],
        lambda x: np.full_like(x, np.nan) if x.dtype.kind == "f" else x[:1],
    ],
)
@pytest.mark.parametrize("part", ["codes", "scale", "bias"])
def test_arrays_that_no_recipe_has(recipe: Path, part: str, change: Callable[[np.ndarray], np.ndarray]):
    path = recipe.with_suffix(".safetensors")
    tensors = load_file(path)
    tensors[f"head.{part}"] = np.ascontiguousarray(change(tensors[f"head.{part}"]))
    save_file(tensors, path)
    unreadable(recipe)


def test_a_checkpoint_is_not_changed_by_reading(tmp_path: Path):
    torch.save(content(), tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()
    checkpoint = read_checkpoint(tmp_path / "m.pt")
    model = load_model(tmp_path / "m.pt")
    model.model.head.weight.data.zero_()
    assert checkpoint.state_dict and (tmp_path / "m.pt").read_bytes() == before
    assert timm.is_model(model.arch)
