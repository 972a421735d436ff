import os
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mptq_export.runtime.session import open_session


@pytest.fixture
def model(tmp_path: Path) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", value[:1], value[1:])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="CPUs of a thread are known on Linux")
def test_threads_stay_on_the_cpus_of_the_process(model: Path) -> None:
    own = os.sched_getaffinity(0)
    if len(own) < 2:
        pytest.skip("one CPU")
    before = set(os.listdir("/proc/self/task"))
    os.sched_setaffinity(0, {min(own)})
    try:
        session = open_session(model)
        started = [int(task) for task in set(os.listdir("/proc/self/task")) - before]
        bound = {cpu for task in started for cpu in os.sched_getaffinity(task)}
    finally:
        os.sched_setaffinity(0, own)
    assert session.get_session_options().intra_op_num_threads == 1
    assert bound <= {min(own)}


def test_all_cpus_leave_the_choice_to_onnxruntime(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: len(os.sched_getaffinity(0)))
    assert open_session(model).get_session_options().intra_op_num_threads == 0
    assert open_session(model, threads=3).get_session_options().intra_op_num_threads == 3
