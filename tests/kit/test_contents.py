"""What lies in a kit: everything listed, everything equal to what kernels_ref computes."""

import hashlib
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kernels_ref import Interpreter
from mptq_export.kit.probes import find_probes, numbered_module
from mptq_export.kit.write import RUNNERS
from mptq_export.verify.kernels.plan import read_kernel_plan


@pytest.fixture(scope="module")
def manifest(exported: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((exported / "kit" / "manifest.json").read_text())
    return content


def test_every_file_is_listed_with_its_checksum(exported: Path, manifest: dict[str, Any]) -> None:
    kit = exported / "kit"
    listed = {entry["file"] for entry in manifest["files"]}
    found = {str(path.relative_to(kit)) for path in kit.rglob("*") if path.is_file()}
    assert found == listed | set(RUNNERS) | {"manifest.json", "manifest.tsv"}
    for entry in manifest["files"]:
        data = (kit / entry["file"]).read_bytes()
        assert (len(data), zlib.crc32(data)) == (entry["bytes"], entry["crc32"])
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert (kit / "model.onnx").read_bytes() == (exported / "digits.onnx").read_bytes()


def test_the_kit_is_smaller_than_three_models(exported: Path) -> None:
    total = sum(path.stat().st_size for path in (exported / "kit").rglob("*") if path.is_file())
    assert total < 3 * (exported / "digits.onnx").stat().st_size


def test_the_golden_values_are_those_of_the_reference(exported: Path, manifest: dict[str, Any]) -> None:
    kit = exported / "kit"
    reference = Interpreter(kit / "model.onnx")
    given = manifest["input"]
    inputs = np.fromfile(kit / given["file"], "<f4").reshape(-1, *given["shape"])
    assert len(inputs) == manifest["inputs"] == 2
    assert not np.array_equal(*inputs)
    stored = []
    for i, array in enumerate(inputs):
        expected = reference.run({given["name"]: array}, trace=True)
        for entry in [*manifest["outputs"], *manifest["tensors"]]:
            values = expected[entry["name"]]
            assert (values.dtype.name, list(values.shape)) == (entry["dtype"], entry["shape"])
            assert zlib.crc32(np.ascontiguousarray(values).tobytes()) == entry["crc32"][i]
            if entry["file"]:
                stored.append(entry["name"])
                golden = np.fromfile(kit / entry["file"], entry["dtype"]).reshape(2, *entry["shape"])[i]
                assert golden.tobytes() == values.tobytes()
    assert {"logits", *(e["name"] for e in manifest["tensors"] if e["file"])} == set(stored)


def test_the_table_says_the_same(exported: Path, manifest: dict[str, Any]) -> None:
    lines = (exported / "kit" / "manifest.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["kit", "1", "2", "model.onnx", "probes.bin"]
    entries = [("input", manifest["input"])]
    entries += [("output", entry) for entry in manifest["outputs"]]
    entries += [("tensor", entry) for entry in manifest["tensors"]]
    files = [["file", entry["file"], str(entry["bytes"]), str(entry["crc32"])] for entry in manifest["files"]]
    tensors = []
    for kind, entry in entries:
        shape, checks = (",".join(map(str, entry[key])) for key in ("shape", "crc32"))
        tensors.append([kind, entry["name"], entry["dtype"], shape, checks, entry["file"] or "-"])
    assert rows[1:] == files + tensors


def test_probes_are_all_codes_and_one_boundary_a_block(exported: Path) -> None:
    model = onnx.load(exported / "digits.onnx")
    probes = find_probes(model)
    codes = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert set(codes) <= {probe.name for probe in probes}
    assert [probe.block for probe in probes if probe.boundary] == ["", *(f"blocks.{i}" for i in range(4))]
    order = [name for node in model.graph.node for name in node.output]
    positions = [order.index(probe.name) for probe in probes]
    assert positions == sorted(positions)


def test_with_the_probes_the_same_kernels_run(exported: Path, tmp_path: Path) -> None:
    kit = exported / "kit"
    probed = tmp_path / "probed.onnx"
    probed.write_bytes((kit / "model.onnx").read_bytes() + (kit / "probes.bin").read_bytes())
    plain, more = (Counter(m.op for m in read_kernel_plan(p).matmuls) for p in (kit / "model.onnx", probed))
    assert plain == more
    document = onnx.load(probed)
    assert document.graph.node == onnx.load(kit / "model.onnx").graph.node
    assert len(document.graph.output) == 1 + len(find_probes(onnx.load(kit / "model.onnx")))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("blocks.3.attn.qkv.codes", "blocks.3"),
        ("blocks.11.add_2.shifted", "blocks.11"),
        ("layers.1.blocks.0.attn.scores", "layers.1.blocks.0"),
        ("patch_embed.proj.pixels", ""),
        ("logits", ""),
        ("blocks.2.add_2.rows1_0_1.slice1", "blocks.2"),
    ],
)
def test_the_block_of_a_tensor(name: str, block: str) -> None:
    assert numbered_module(name) == block
