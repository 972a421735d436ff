"""options.py: one line a setting, with what it does to the bits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

REPO = Path(__file__).resolve().parents[2]


def test_every_setting_is_a_line(tmp_path: Path):
    graph = helper.make_graph(
        [helper.make_node("Div", ["input", "three"], ["logits"])],
        "thirds",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [onnx.numpy_helper.from_array(np.float32(3), "three")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    x = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    np.savez(tmp_path / "m.npz", inputs=x, logits=x / np.float32(3))
    command = [sys.executable, "-m", "tools.crosscheck.options", tmp_path / "m.npz", tmp_path / "m.onnx"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    lines = {line["setting"]: line for line in map(json.loads, ran.stdout.splitlines())}
    exact = ("default", "session.x64quantprecision", "session.disable_quant_qdq", ".ort", ".with_runtime_opt.ort")
    assert [lines[name]["differing"] for name in exact] == [0] * len(exact)
    assert all(line["differing"] > 0 for name, line in lines.items() if name.startswith("rounding"))
