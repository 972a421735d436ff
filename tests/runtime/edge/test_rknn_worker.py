"""Whatever becomes of the toolkit's own process is one line; its log is read. No toolkit is needed for this."""

import sys
from pathlib import Path

import pytest

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.rknn import open_rknn
from mptq_export.runtime.edge.rknn_log import complaint_of, placement_of
from mptq_export.support.errors import MptqError
from tests.runtime.edge.codes_between import erf_gelu

LOG = """\
I rknn-toolkit2 version: 2.5.0
\x1b[1;33mW\x1b[0m load_onnx: a warning
E build: The op type of 'a' is not known!
E rknn-toolkit2 version: 2.5.0
E build: Traceback (most recent call last):
D RKNN: [12:52:15.409]                     Network Layer Information Table
D RKNN: [12:52:15.409] ---------------------------------------------------
D RKNN: [12:52:15.409] ID   OpType           DataType Target InputShape
D RKNN: [12:52:15.409] ---------------------------------------------------
D RKNN: [12:52:15.409] 0    InputOperator    INT8     CPU    \\
D RKNN: [12:52:15.409] 1    Conv             INT8     NPU    (1,3,32,32),(64,3,4,4),(64)
D RKNN: [12:52:15.409] 2    Erf              FLOAT16  CPU    (65,256,1,1)
D RKNN: [12:52:15.409] 3    Conv             INT8     NPU    (1,64,1,65),(192,64,1,1),(192)
D RKNN: [12:52:15.409] 4    Reshape          INT8     CPU    (1,10,1,1),(2)
D RKNN: [12:52:15.409] 5    Add              INT8     NPU    (1,10,1,1),(1,10,1,1)
D RKNN: [12:52:15.409] 6    Reshape          INT8     CPU    (1,10,1,1),(2)
D RKNN: [12:52:15.409] 7    OutputOperator   INT8     CPU    (1,10)
D RKNN: [12:52:15.409] ---------------------------------------------------
D RKNN: [12:52:15.410] 5    Conv             INT8     NPU    a row of another table
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return erf_gelu(divided=True).write(tmp_path / "codes.onnx")


def stand_in(folder: Path, script: str) -> str:
    """A command that is taken for the toolkit's Python."""
    command = folder / "python"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return str(command)


def test_the_table_of_operators_says_what_runs_where() -> None:
    """The last Reshape packs the output for the host and is no operator of the file; one further in is."""
    placement = placement_of(LOG)
    assert [(placed.op, placed.numbers, placed.where, placed.count) for placed in placement.ops] == [
        ("Conv", "INT8", "NPU", 2),
        ("Erf", "FLOAT16", "CPU", 1),
        ("Reshape", "INT8", "CPU", 1),
        ("Add", "INT8", "NPU", 1),
    ]
    assert [placed.op for placed in placement.left] == ["Erf", "Reshape"]
    assert [placed.op for placed in placement.floating] == ["Erf"]


def test_a_log_without_a_table_places_nothing() -> None:
    assert placement_of("I rknn-toolkit2 version: 2.5.0\n").ops == ()


def test_the_last_complaint_is_the_reason() -> None:
    assert complaint_of(LOG) == "build: The op type of 'a' is not known!"
    assert complaint_of("") == ""


def test_without_an_environment_the_line_says_how_to_make_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPTQ_RKNN_PYTHON", raising=False)
    with pytest.raises(MptqError, match=r"a Python environment of its own: .* install rknn-toolkit2"):
        open_rknn(model, EdgeOptions())


def test_a_python_without_the_toolkit_is_named(model: Path) -> None:
    with pytest.raises(MptqError, match=r"that Python has no RKNN-Toolkit2 .*pip install rknn-toolkit2"):
        open_rknn(model, EdgeOptions(python=Path(sys.executable)))


def test_a_python_that_is_not_there_is_named(model: Path) -> None:
    with pytest.raises(MptqError, match=r"/no/python cannot be run \(No such file or directory\).*venv"):
        open_rknn(model, EdgeOptions(python=Path("/no/python")))


@pytest.mark.parametrize(
    ("script", "ended"), [("kill -SEGV $$", "SIGSEGV"), ("exit 3", "exit status 3"), ("echo nonsense", "exit status 0")]
)
def test_a_toolkit_that_dies_is_one_line(model: Path, tmp_path: Path, script: str, ended: str) -> None:
    python = stand_in(tmp_path, f"echo 'E build: out of memory' > $4; {script}")
    with pytest.raises(MptqError, match=rf"died opening the file \(codes\.onnx\): {ended}; build: out of memory"):
        open_rknn(model, EdgeOptions(python=Path(python)))


def test_a_toolkit_that_refuses_says_why(model: Path, tmp_path: Path) -> None:
    python = stand_in(
        tmp_path, """echo 'E build: no such op' > $4; echo '{"error": "RefusedError: build returned -1"}'"""
    )
    with pytest.raises(MptqError, match=r"refuses codes\.onnx opening the file: build: no such op$"):
        open_rknn(model, EdgeOptions(python=Path(python)))


def test_a_toolkit_that_rewrites_for_ever_is_stopped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rules can undo each other: a log that grows by the same lines for ever."""
    monkeypatch.setattr("mptq_export.runtime.edge.rknn._PATIENCE", 0.1)
    line = "D     swap_transpose: remove node = ['a'], add node = ['b']"
    python = stand_in(tmp_path, f'yes "{line}" | head -n 20000 > $4; exec sleep 60')
    with pytest.raises(MptqError, match=r"rewrites codes\.onnx for ever \(swap_transpose\)"):
        open_rknn(model, EdgeOptions(python=Path(python)))


def test_nothing_is_left_behind(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(MptqError):
        open_rknn(model, EdgeOptions(python=Path(stand_in(tmp_path, "exit 1"))))
    assert not list(scratch.iterdir())


def test_a_relative_python_is_found_from_where_the_user_is(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = stand_in(tmp_path, "exit 5")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MptqError, match="exit status 5"):
        open_rknn(model, EdgeOptions(python=Path("..", tmp_path.name, Path(python).name)))
