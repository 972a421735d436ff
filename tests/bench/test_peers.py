"""Our files beside their peers: what is measured, not how fast."""

import json
from pathlib import Path

from tiny_models import images

from mptq_export.load.loaders import load_model
from tools.bench.peer import onnx_peer, stability
from tools.bench.peers import main
from tools.bench.random_checkpoint import write_random_checkpoint

from .command import Ended, run

NAMES = ["float32", "ORT static u8s8", "ORT static u8u8", "ORT static s8s8", "ours 8/8", "ours 7/8", "ours 4/4"]
MATMULS = 14  # 4 linears and attention's 2 in 2 blocks, patches, head


def peers(*arguments: object) -> Ended:
    return run(main, *arguments)


def test_a_checkpoint_with_all_its_peers(checkpoint: Path, folder: Path, tmp_path: Path):
    kept = tmp_path / "kept"
    options = ("--count", 4, "--images", 3, "--rounds", 2, "--keep", kept, "--json", tmp_path / "r.json")
    result = peers(checkpoint, "--calib", folder, "--val", folder, *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    rows = {row["name"]: row for row in report["models"]}
    assert list(rows)[: len(NAMES)] == NAMES
    openvino = [name for name in rows if name.startswith("OpenVINO")]
    assert len(openvino) == 2 or report["left_out"] == "OpenVINO: No module named 'nncf'"
    assert report["calibration_images"] == 4
    for name, row in rows.items():
        assert 0 <= row["top1"] <= 1
        assert row["timings"][0]["over"]["ours 8/8"]["median"] > 0
        assert row["file_bytes"] > 0
        assert row["stability"]["logits"] == 14
        if name.startswith("ours"):
            assert row["verified"]["differing"] == 0 and row["verified"]["values"] > 1000
            assert row["matmuls"]["integer"] >= MATMULS and row["matmuls"]["float"] == 0
            assert [row["stability"][change] for change in ("batch", "threads", "kernels_ref")] == [0, 0, 0]
    assert rows["ours 8/8"]["timings"][0]["over"]["ours 8/8"] == {"low": 1.0, "median": 1.0, "high": 1.0}
    assert rows["float32"]["matmuls"]["integer"] == 0
    assert {path.name for path in kept.glob("ours*.onnx")} == {"ours.w8a8.onnx", "ours.w7a8.onnx", "ours.w4a4.onnx"}
    for words in ("top-1", "over ours 7/8", "kernels_ref", "in float"):
        assert words in " ".join(result.stdout.split())

    again = tmp_path / "again.json"
    settings = ("--threads", 1, "--threads", 2, "--batch", 1, "--batch", 3)
    result = peers("--kept", kept, *settings, "--rounds", 1, "--no-openvino", "--json", again)
    assert result.exit_code == 0, result.stderr
    models = json.loads(again.read_text())["models"]
    assert [row["name"] for row in models] == NAMES
    for row in models:
        assert row["file_bytes"] == rows[row["name"]]["file_bytes"]
        assert [(t["threads"], t["batch"]) for t in row["timings"]] == [(1, 1), (2, 1), (1, 3), (2, 3)]
    assert "top-1" not in result.stdout and "kernels_ref" not in result.stdout


def test_a_folder_without_our_files_is_refused(tmp_path: Path):
    result = peers("--kept", tmp_path)
    assert result.exit_code == 2
    assert "has no float.onnx" in result.stderr


def test_a_file_that_the_reference_cannot_read_says_why(companion: Path):
    x = images("vit", 2).numpy()
    found = stability(onnx_peer("float32", companion), x)
    assert set(found) == {"logits", "batch", "threads", "optimiser", "kernels_ref"}
    assert found["logits"] == 14


def test_random_weights_are_all_there(tmp_path: Path):
    loaded = load_model(write_random_checkpoint("test_vit", tmp_path / "m.pt"))
    assert loaded.arch == "test_vit"
    assert all(value.abs().max() > 0 for _, value in loaded.model.named_parameters())


def test_wrong_command_lines(checkpoint: Path, tmp_path: Path):
    for arguments, words in (
        ((), "CHECKPOINT, --random"),
        ((checkpoint, "--random", "test_vit"), "CHECKPOINT, --random"),
        ((checkpoint,), "needs --calib"),
        (("--random", "test_vit", "--val", tmp_path), "have neither"),
        (("--random", "no_such_vit"), "no_such_vit"),
    ):
        result = peers(*arguments)
        assert result.exit_code == 2, result.stderr
        assert words in result.stderr and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
