"""What a path is, told by its content: under any name, and without torch where the command line asks."""

import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from mptq_export.load.doors import default_output
from mptq_export.load.file.content import Content, content_of

TENSORS = {"a.weight": torch.ones(2, 3)}


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def program(path: Path) -> None:
    with path.open("wb") as stream:  # by a path it wants the suffix .pt2
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), stream)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.txt", b"x")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())


WRITERS: dict[Content, list[Callable[[Path], object]]] = {
    Content.TORCH_ZIP: [lambda path: torch.save(TENSORS, path)],
    Content.TORCH_LEGACY: [lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False)],
    Content.PICKLE: [lambda path, p=protocol: path.write_bytes(pickle.dumps({"a": 1}, p)) for protocol in range(6)],
    Content.SAFETENSORS: [lambda path: safetensors.torch.save_file(TENSORS, path)],
    Content.NPZ: [lambda path: np.savez(path.open("wb"), a=np.zeros(2))],
    Content.INDEX: [lambda path: path.write_text('{"metadata": {}, "weight_map": {}}')],
    Content.TORCHSCRIPT: [scripted],
    Content.PROGRAM: [program],
    Content.FOLDER: [Path.mkdir],
    Content.MISSING: [lambda path: None],
    Content.OTHER: [
        zipped,
        tarred,
        *(lambda path, b=b: path.write_bytes(b) for b in (b"", b"<html>", b"\x08\x0apytorch")),
    ],
}
ROWS = [(content, number) for content, writers in WRITERS.items() for number in range(len(writers))]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("content", "number"), ROWS, ids=str)
def test_the_name_says_nothing(tmp_path: Path, content: Content, number: int):
    for name in ("m", "m.pth.tar", "m.safetensors"):
        WRITERS[content][number](tmp_path / name)
        assert content_of(tmp_path / name) is content


def test_the_doors_need_no_torch():
    code = "import sys, mptq_export.load.doors; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a/m.pt", "a/m.mptq.onnx"),
        ("a/model_best.pth.tar", "a/model_best.mptq.onnx"),
        ("epoch=3-step=1.5.ckpt", "epoch=3-step=1.5.mptq.onnx"),
        ("m", "m.mptq.onnx"),
        ("a/model.safetensors.index.json", "a/model.mptq.onnx"),
        ("timm:vit_tiny_patch16_224.augreg_in1k", "vit_tiny_patch16_224.augreg_in1k.mptq.onnx"),
        ("hf-hub:owner/vit.v1@main", "owner_vit.v1.mptq.onnx"),
        ("my.models:make.tiny", "make.tiny.mptq.onnx"),
    ],
)
def test_where_an_export_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str):
    monkeypatch.chdir(tmp_path)
    assert default_output(name) == Path(written)


def test_the_export_of_a_folder_is_written_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "vit-v1.5").mkdir()
    monkeypatch.chdir(tmp_path / "vit-v1.5")
    for name in (".", "../vit-v1.5/", str(tmp_path / "vit-v1.5")):
        assert default_output(name).resolve() == tmp_path / "vit-v1.5.mptq.onnx"
