"""ONNX files that were made to do harm: each is refused in one line, by the whole command in its own process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from processes import Started

from kernels_ref import Interpreter, InterpreterError
from mptq_export.cli.verify import main

COMMAND = "mptq_export.cli.verify"
FLOAT = TensorProto.FLOAT
RESIDENT = 3 * 2**30


def verify(path: Path) -> tuple[int, str, str]:
    """Status, stdout and stderr of the command."""
    return Started(COMMAND, path, "--random", "1").finish(timeout=120)


def refused(path: Path, *words: str) -> None:
    status, _, message = verify(path)
    in_one_line(status, message, words)


def refused_here(path: Path, *words: str) -> None:
    """The same in this process, for what onnxruntime never gets to see."""
    result = CliRunner().invoke(main, [str(path), "--random", "1"])
    in_one_line(result.exit_code, result.stderr, words)


def in_one_line(status: int, message: str, words: tuple[str, ...]) -> None:
    assert status == 2, message
    assert message.startswith("error: ") and message.count("\n") == 1, message
    assert all(word in message for word in words), message


def small(nodes: list[onnx.NodeProto], shape: list[int | str] | None = None, **tensors: object) -> onnx.ModelProto:
    """A graph from x to y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape or ["batch", 4])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def node(op: str, inputs: list[str], output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], output, **attributes)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


# -- data in other files -----------------------------------------------------------------------------------------------


def external(location: str, **entries: object) -> onnx.ModelProto:
    model = small([node("Add", ["x", "w"])], w=np.zeros(4, np.float32))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder; beside it a file that is nobody's business, and links to it."""
    (tmp_path / "secret.bin").write_bytes(b"\x00\x00\x80?" * 4)
    inner = tmp_path / "model"
    inner.mkdir()
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    (inner / "up").symlink_to(tmp_path)
    (inner / "own.bin").write_bytes(bytes(16))
    return inner


@pytest.mark.parametrize(
    "location", ["../secret.bin", "link.bin", "up/secret.bin", "a/../../secret.bin", "/etc/passwd"]
)
def test_data_outside_the_folder(folder: Path, location: str):
    refused_here(save(external(location), folder / "m.onnx"), "outside the model's folder")


def test_data_by_its_absolute_path(folder: Path):
    absolute = str(folder.parent / "secret.bin")
    refused(save(external(absolute), folder / "m.onnx"), "outside the model's folder")


def test_data_outside_the_folder_of_a_body_that_never_runs(folder: Path):
    model = external("own.bin")
    inner = external("../secret.bin").graph
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    refused(save(model, folder / "m.onnx"), "outside the model's folder")


@pytest.mark.parametrize(
    "entries", [{"length": 2**50}, {"offset": 2**50}, {"offset": 8}, {"offset": -1}, {"length": "x"}, {"length": 4}]
)
def test_data_that_is_not_there(folder: Path, entries: dict[str, object]):
    refused_here(save(external("own.bin", **entries), folder / "m.onnx"), "cannot read the data of tensor w")


@pytest.mark.parametrize("location", [".", "up", "none.bin"])
def test_data_that_is_no_file(folder: Path, location: str):
    refused_here(save(external(location), folder / "m.onnx"))


def test_data_of_an_endless_device(tmp_path: Path):
    """The folder is the device's own: only the file type tells."""
    model = external("zero")
    with pytest.raises(InterpreterError, match="cannot read the data"):
        Interpreter(save(model, tmp_path / "m.onnx"))
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(save(model, tmp_path / "m.onnx"), "outside the model's folder")


def test_its_own_data_is_read(folder: Path):
    save(external("own.bin", offset=0, length=16), folder / "m.onnx")
    x = np.ones((1, 4), np.float32)
    assert np.array_equal(Interpreter(folder / "m.onnx").run({"x": x})["y"], x)
    assert verify(folder / "m.onnx")[0] == 0


# -- sizes -------------------------------------------------------------------------------------------------------------


def _grown(op: str, inputs: list[str], **tensors: object) -> onnx.ModelProto:
    return small([node(op, inputs, "big"), node("Add", ["x", "big"])], **tensors)


HUGE = 2**40
GROWING: dict[str, Callable[[], onnx.ModelProto]] = {
    "ConstantOfShape": lambda: _grown("ConstantOfShape", ["n"], n=np.array([HUGE, 4])),
    "Expand": lambda: _grown("Expand", ["one", "n"], one=np.zeros((1, 1), np.float32), n=np.array([HUGE, 4])),
    "Tile": lambda: _grown("Tile", ["one", "n"], one=np.zeros((1, 4), np.float32), n=np.array([HUGE, 1])),
    "Range": lambda: _grown("Range", ["a", "b", "c"], a=np.float32(0), b=np.float32(1e12), c=np.float32(1)),
    "Pad": lambda: _grown("Pad", ["one", "n"], one=np.zeros(4, np.float32), n=np.array([0, HUGE])),
    "Gather": lambda: _grown("Gather", ["w", "i"], w=np.zeros((2, 10**5), np.float32), i=np.zeros(10**5, np.int64)),
    "Add": lambda: _grown("Add", ["w", "v"], w=np.zeros((10**5, 1), np.float32), v=np.zeros(10**5, np.float32)),
    "MatMul": lambda: _grown(
        "MatMul", ["w", "v"], w=np.zeros((10**5, 1), np.float32), v=np.zeros((1, 10**5), np.float32)
    ),
    "Concat": lambda: small(
        [helper.make_node("Concat", ["w"] * 9000, ["big"], "big", axis=0), node("Add", ["x", "big"])],
        w=np.zeros((2**17, 1), np.float32),
    ),
    "Conv": lambda: _grown(
        "Conv",
        ["w", "k"],
        w=np.zeros((1, 1, 20000, 20000), np.uint8).astype(np.float32)[:, :, :2, :2],
        k=np.zeros((2**17, 1, 1, 1), np.float32),
    ),
}


@pytest.mark.parametrize("op", [op for op in GROWING if op != "Conv"])
def test_a_small_file_that_asks_for_a_huge_tensor(tmp_path: Path, op: str):
    refused(save(GROWING[op](), tmp_path / "m.onnx"), op, "would have", "elements")


def test_a_result_that_grows_with_the_input(tmp_path: Path):
    model = small([node("Expand", ["x", "n"])], n=np.array([HUGE, 1]))
    with pytest.raises(InterpreterError, match="would have"):
        Interpreter(model).run({"x": np.zeros((1, 4), np.float32)})
    refused(save(model, tmp_path / "m.onnx"), "would have")


@pytest.mark.parametrize("shape", [["batch", 2**40], [2**40, 4], [2**20, 2**20], ["batch", 0], [0, 4], ["batch", -3]])
def test_an_input_of_absurd_size(tmp_path: Path, shape: list[int | str]):
    refused(save(small([node("Neg", ["x"])], shape), tmp_path / "m.onnx"), "input x has shape")


@pytest.mark.parametrize("dims", [[2**40], [2**62, 2**62], [-1], [5]])
def test_a_constant_whose_shape_is_not_its_data(tmp_path: Path, dims: list[int]):
    model = small([node("Add", ["x", "w"])], w=np.zeros(4, np.float32))
    model.graph.initializer[0].dims[:] = dims
    refused(save(model, tmp_path / "m.onnx"), "tensor w cannot be read")


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_a_cycle(tmp_path: Path):
    model = small([node("Add", ["x", "y"], "a"), node("Neg", ["a"])])
    refused(save(model, tmp_path / "m.onnx"), "cyclic")


def test_a_loop_without_end(tmp_path: Path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [helper.make_tensor_value_info("c2", TensorProto.BOOL, []), helper.make_tensor_value_info("v2", FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["", "yes", "x"], ["y"], "y", body=body)
    refused(save(small([loop], yes=np.array(True)), tmp_path / "m.onnx"), "unknown op Loop")


def test_a_function_that_shadows_an_op(tmp_path: Path):
    model = small([node("Neg", ["x"])])
    opset = [helper.make_opsetid("", 21)]
    model.functions.append(
        helper.make_function("", "Neg", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], opset)
    )
    refused(save(model, tmp_path / "m.onnx"), "functions are not supported")


def test_a_chain_of_constants_deeper_than_the_stack(tmp_path: Path):
    nodes = [node("Neg", [f"t{i}"], f"t{i + 1}") for i in range(20_000)]
    model = small([*nodes, node("Add", ["x", "t20000"])], t0=np.zeros(4, np.float32))
    refused(save(model, tmp_path / "m.onnx"), "kernels_ref")


def test_not_a_number(tmp_path: Path):
    """A file that makes a NaN is not reproducible: it does not pass, and nothing breaks."""
    model = small([node("Add", ["x", "w"])], w=np.full(4, np.nan, np.float32))
    status, said, complaint = verify(save(model, tmp_path / "m.onnx"))
    assert status == 1 and "NaN" in said and complaint == ""


# -- what is no ONNX file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/random", "/", "/dev/null"])
def test_a_device(path: str):
    refused(Path(path), path)


def test_a_pipe_that_nobody_writes(tmp_path: Path):
    os.mkfifo(tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "it is no file")


def test_a_file_above_what_onnx_can_be(tmp_path: Path):
    with (tmp_path / "m.onnx").open("wb") as stream:
        stream.truncate(2**31 + 1)  # takes no space
    refused(tmp_path / "m.onnx", "above 2 GiB")


@pytest.mark.parametrize("suffix", ["json", "textproto", "onnxtxt"])
def test_the_name_does_not_choose_another_parser(tmp_path: Path, suffix: str):
    path = save(small([node("Neg", ["x"])]), tmp_path / f"m.{suffix}")
    assert verify(path)[0] == 0


# -- crashes -----------------------------------------------------------------------------------------------------------


def crashing(body: str) -> subprocess.CompletedProcess[str]:
    """A command of ours that ends in an unusual way."""
    lines = [
        "import click, os, signal, sys",
        "from mptq_export.cli.common import MptqCommand",
        "@click.command('mptq-verify', cls=MptqCommand, isolated=True)",
        "@click.argument('model')",
        "def main(model):",
        f"    {body}",
        "main()",
    ]
    command = [sys.executable, "-c", "\n".join(lines), "m.onnx"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGKILL"])
def test_a_crash_of_the_runtime_is_one_line(name: str):
    result = crashing(f"os.kill(os.getpid(), signal.{name})")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: mptq-verify m.onnx came to an end ({name}: ")
    assert result.stderr.count("\n") == 1


def test_a_command_that_is_stopped_says_only_that():
    result = crashing("os.kill(os.getppid(), signal.SIGTERM); signal.pause()")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_memory_that_runs_out_is_one_line():
    result = crashing("bytearray(2**50)")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: there is not enough memory")


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_status_is_that_of_the_command(status: int):
    assert crashing(f"return {status}").returncode == status
