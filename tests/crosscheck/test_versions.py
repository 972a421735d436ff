"""versions.py: a file says which onnxruntime it needs, and the versions agree."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

REPO = Path(__file__).resolve().parents[2]


def lines(folder: Path, says: str, offset: float) -> tuple[int, list[dict]]:
    """What the script says of a doubling model and the installed onnxruntime."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "input"], ["logits"])],
        "doubling",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {"mptq.min_onnxruntime": says})
    onnx.save(model, folder / "m.onnx")
    x = np.ones((3, 4), np.float32)
    np.savez(folder / "m.npz", inputs=x, logits=2 * x + np.float32(offset))
    installed = Path(onnxruntime.__file__).parents[1]
    command = [sys.executable, "-m", "tools.crosscheck.versions", folder, installed]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(("says", "offset", "status"), [("1.20", 0.0, 0), ("1.20", 1.0, 1), ("99.0", 1.0, 0)])
def test_a_version_that_is_new_enough_must_give_the_bits(tmp_path: Path, says: str, offset: float, status: int):
    returned, found = lines(tmp_path, says, offset)
    assert (returned, len(found)) == (status, 1)
    assert found[0]["opens"]
    assert found[0]["says"] == says
    assert bool(found[0]["differing"]) == (offset != 0)
    assert found[0]["agrees"] == (status == 0)
