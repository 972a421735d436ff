"""Two writers of one output at once: the files of one of them remain, all of it, and nobody sees a part."""

import subprocess
import sys
from pathlib import Path

import pytest

from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable, write_together

from .conftest import start, whole

NAMES = ("a.onnx", "a.json", "a.bin")
SIZE = 20_000


WRITE_OFTEN = """
import sys
from pathlib import Path
from mptq_export.support.files import write_together

folder, letter, names, size = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(), int(sys.argv[4])
for _ in range(50):
    write_together({folder / name: lambda path: path.write_text(letter * size) and None for name in names})
"""


def test_two_programs_that_write_the_same_files(tmp_path: Path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE_OFTEN, str(tmp_path), letter, " ".join(NAMES), str(SIZE)])
        for letter in "xy"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        for name in NAMES:
            if (tmp_path / name).exists():
                seen.add((tmp_path / name).read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
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
    """The later one is refused."""
    processes = [start(0, work, "--bits", bits) for bits in ("8/8", "4/6")]
    ends = [process.finish() for process in processes]
    assert sorted(status for status, _, _ in ends) == [0, 2]
    assert any("appeared while this ran" in err or "exists already" in err for _, _, err in ends)
    assert whole(work / "out" / "m.onnx")


@pytest.mark.slow
def test_two_exports_that_may_replace_one_output(work: Path):
    """The later one replaces all files of the other."""
    processes = [start(0, work, "--bits", bits, "--force") for bits in ("8/8", "4/6")]
    assert [process.finish()[0] for process in processes] == [0, 0]
    assert whole(work / "out" / "m.onnx")
