"""A disk that is full at any byte, and folders that cannot be written: one line, and everything is as it was."""

import errno
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mptq_export.cli.common import MptqCommand
from mptq_export.cli.export import main
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together

from .conftest import visible, whole


def export(work: Path, *options: object) -> Result:
    arguments = [work / "m.pt", "--count", 4, "-o", work / "out" / "m.onnx", *options]
    return CliRunner().invoke(main, list(map(str, arguments)))


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, whoever writes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("size", [0, 1000, 30_000, 45_000, 60_000])
def test_a_disk_that_is_full(work: Path, size: int):
    """Too small for the recipe, the codes, the ONNX file: which of them it is depends on the size."""
    with full_after(size):
        result = export(work)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert list((work / "out").iterdir()) == []


def test_a_disk_that_is_full_when_a_file_is_replaced(work: Path):
    assert export(work).exit_code == 0
    before = visible(work / "out")
    with full_after(30_000):
        assert export(work, "--force", "--bits", "4/4").exit_code == 2
    assert visible(work / "out") == before
    assert whole(work / "out" / "m.onnx")


@pytest.mark.parametrize("size", [0, 200, 1500])
def test_a_search_on_a_disk_that_is_full_goes_on_when_there_is_space(work: Path, size: int):
    options = ("--mixed", "3.5", "--mixed-range", "2-4")
    with full_after(size):
        result = export(work, *options)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.splitlines()[-1].startswith("error: ")
    resume = ("--resume",) if (work / "out" / "m.search.jsonl").exists() else ()
    result = export(work, *options, *resume)
    assert result.exit_code == 0, (result.output, result.exception)
    assert whole(work / "out" / "m.onnx")


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_device_that_says_so_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, call, _full)
    with pytest.raises(MptqError, match="No space left on device; free space"):
        write_together({tmp_path / "a": lambda path: path.write_text("new") and None})
    monkeypatch.undo()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_the_second_of_two_files_fails(tmp_path: Path):
    def fails(path: Path) -> None:
        path.write_text("half")
        _full()

    writers: dict[Path, Callable[[Path], None]] = {
        tmp_path / "a": lambda path: path.write_text("new") and None,
        tmp_path / "b": fails,
    }
    with pytest.raises(MptqError, match=f"cannot write {tmp_path / 'b'}"):
        write_together(writers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(work: Path):
    (work / "out").chmod(0o555)
    result = export(work)
    assert result.exit_code == 2 and "choose a writable folder" in result.stderr
    assert list((work / "out").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("option", ["-o", "--float-onnx", "--json"])
def test_a_file_system_that_is_read_only(work: Path, option: str):
    result = export(work, option, "/proc/m.onnx")
    assert result.exit_code == 2 and "cannot write /proc/m." in result.stderr, result.output
    assert list((work / "out").iterdir()) == []


def test_files_have_the_permissions_that_the_user_gives(work: Path):
    old = os.umask(0o027)
    try:
        assert export(work).exit_code == 0
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in (work / "out").iterdir()} == {0o640}


@pytest.mark.parametrize("error", [MptqError, OSError])
def test_no_message_names_a_temporary_file(tmp_path: Path, error: type[Exception]):
    def write(path: Path) -> None:
        raise error(f"{path} ({path.name}) is not exact") if error is MptqError else OSError(28, "full", str(path))

    with pytest.raises(MptqError) as caught:
        write_together({tmp_path / "no" / "m.onnx": write})
    assert "m.onnx" in str(caught.value)
    assert ".part" not in str(caught.value)


def test_nor_do_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    @click.command(cls=MptqCommand)
    @click.argument("path")
    def command(path: str) -> None:
        raise OSError(28, "No space left on device", path)

    for path, said in ((str(tmp_path / "tmp123"), f"a temporary file in {tmp_path}"), ("/x/y", "/x/y")):
        assert CliRunner().invoke(command, [path]).stderr.startswith(f"error: {said}: No space left on device")
