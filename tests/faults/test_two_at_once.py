"""Two writers of one output at once: the files of one of them remain, all of it, and nobody sees a part."""

import multiprocessing
from pathlib import Path

import pytest

from mptq_export.errors import MptqError
from mptq_export.files import check_writable, write_together

from .conftest import finish, start, whole

NAMES = ("a.onnx", "a.json", "a.bin")
SIZE = 20_000


def _write_often(folder: Path, letter: str) -> None:
    for _ in range(100):
        write_together({folder / name: lambda path: path.write_text(letter * SIZE) and None for name in NAMES})


def test_two_programs_that_write_the_same_files(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(tmp_path, letter)) for letter in "xy"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        for name in NAMES:
            if (tmp_path / name).exists():
                seen.add((tmp_path / name).read_text())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen <= {"x" * SIZE, "y" * SIZE}
    assert len({(tmp_path / name).read_text() for name in NAMES}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_a_file_that_appeared_meanwhile_is_not_lost(tmp_path: Path):
    out = tmp_path / "m.onnx"
    check_writable(out, force=False)

    def write(path: Path) -> None:
        path.write_text("mine")
        out.write_text("another export's")

    with pytest.raises(MptqError, match=f"{out} appeared while this ran; pass --force"):
        write_together({out: write}, force=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m.onnx": "another export's"}


def test_two_exports_to_one_output(work: Path):
    """Without --force the later one is refused; with it, it replaces all files of the other."""
    processes = [start(0, work, "--bits", bits) for bits in ("8/8", "4/6")]
    ends = [finish(process) for process in processes]
    assert sorted(status for status, _, _ in ends) == [0, 2]
    assert any("appeared while this ran" in err or "exists already" in err for _, _, err in ends)
    assert whole(work / "out" / "m.onnx")
    processes = [start(0, work, "--bits", bits, "--force") for bits in ("8/8", "4/6")]
    assert [finish(process)[0] for process in processes] == [0, 0]
    assert whole(work / "out" / "m.onnx")
