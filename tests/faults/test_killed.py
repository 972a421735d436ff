"""kill -9 at every moment at which a file of the output folder changes: nothing half written is ever visible."""

import os
import random
import time
from pathlib import Path

import pytest
from cli.helpers import Interrupting, run, searching

from mptq_export.export.run import export_model
from mptq_export.support.files import write_together
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_contents

from .conftest import start, visible, whole

MAIN = {"m.onnx", "m.recipe.json", "m.recipe.safetensors"}


def moments(work: Path, *options: object) -> int:
    """How many times an export that is left alone touches its folder."""
    status, out, err = start(0, work, *options).finish()
    assert status == 0, err
    return int(out.splitlines()[-1])


def test_an_export_that_is_killed_leaves_all_or_nothing(work: Path):
    """Two moments; all of them in the slow test."""
    for number in (5, 9):
        status, _, _ = start(number, work).finish()
        assert status == -9
        assert not (work / "out" / "m.onnx").exists() or whole(work / "out" / "m.onnx")
    assert moments(work, "--force") > 8  # what was left behind does not stand in the way
    assert whole(work / "out" / "m.onnx")


@pytest.mark.slow
def test_killed_at_every_moment(work: Path):
    """A first export, then one that replaces it: the ONNX file is the old one or the new one, never a part."""
    count = moments(work, "--bits", "8/8")
    first = visible(work / "out")
    for number in range(1, count + 1):
        for path in (work / "out").iterdir():
            path.unlink()
        status, _, _ = start(number, work, "--bits", "8/8").finish()
        assert status == -9
        left = visible(work / "out")
        assert all(left[name] == first[name] for name in left if name in MAIN)
        assert "m.onnx" not in left or set(left) >= MAIN
    moments(work, "--bits", "8/8", "--force")
    whole_folder = {path.name: path.read_bytes() for path in (work / "out").iterdir()}
    for number in range(1, count + 1):
        start(number, work, "--bits", "4/6", "--force").finish()
        assert whole(work / "out" / "m.onnx") or _between_two_names(work / "out", first["m.onnx"])
        for path in (work / "out").iterdir():
            path.unlink()
        for name, data in whole_folder.items():
            (work / "out" / name).write_bytes(data)


def _between_two_names(folder: Path, old: bytes) -> bool:
    """Killed within the microseconds between the renames: the old ONNX file is there, the whole new one has its dot."""
    hidden = next(path for path in folder.iterdir() if path.name.startswith(".m.") and path.suffix == ".onnx")
    return (folder / "m.onnx").read_bytes() == old and contents_match(hidden)


def contents_match(onnx: Path) -> bool:
    """Whether a file is as it was written, by the hash that it carries."""
    origin = check_contents(load_onnx(onnx))
    return origin is not None and origin.problems == ()


@pytest.mark.slow
def test_killed_at_random_times(work: Path):
    generator = random.Random(0)
    for _ in range(15):
        process = start(0, work, "--force")
        time.sleep(generator.uniform(0, 4))
        process.kill()
        process.finish()
        assert not (work / "out" / "m.onnx").exists() or whole(work / "out" / "m.onnx")


def test_a_search_that_is_interrupted_while_it_writes_goes_on_without_force(work: Path):
    """Two budgets: interrupted after the first one's files. --resume finishes."""
    out = work / "out" / "m.onnx"
    with pytest.raises(KeyboardInterrupt):
        export_model(
            searching(work / "m.pt", out, ("3.5", "3"), images=None, count=4), Interrupting("checking", number=2)
        )
    first = visible(work / "out")
    assert {"m.3.5.onnx", "m.search.jsonl"} <= set(first) and "m.3.onnx" not in first
    options = ("--count", 4, "--mixed", "3.5", "--mixed", "3", "--mixed-range", "2-4", "--resume")
    assert run(work / "m.pt", *options, "-o", out).exit_code == 0
    left = visible(work / "out")
    assert left["m.3.5.onnx"] == first["m.3.5.onnx"] and "m.search.jsonl" not in left
    assert whole(work / "out" / "m.3.onnx") and whole(work / "out" / "m.3.5.onnx")


@pytest.mark.slow
def test_a_search_that_is_killed_while_it_writes_goes_on_without_force(work: Path):
    """The same with kill -9; and the bytes are those of a search that was left alone."""
    options = ("--mixed", "3.5", "--mixed", "3", "--mixed-range", "2-4")
    status, _, err = start(0, work, *options, name="a.onnx").finish()
    assert status == 0, err
    expected = visible(work / "out")
    status, _, _ = start("b.3.5.onnx", work, *options, name="b.onnx").finish()
    assert status == -9 and whole(work / "out" / "b.3.5.onnx")
    assert not (work / "out" / "b.3.onnx").exists() and (work / "out" / "b.search.jsonl").exists()
    status, _, err = start(0, work, *options, "--resume", name="b.onnx").finish()
    assert status == 0, err
    left = visible(work / "out")
    assert "b.search.jsonl" not in left
    for budget in ("3", "3.5"):
        for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
            assert left[f"b.{budget}.{suffix}"] == expected[f"a.{budget}.{suffix}"]


@pytest.mark.slow
def test_what_a_resumed_search_did_not_write_is_not_replaced(work: Path):
    options = ("--mixed", "3.5", "--mixed-range", "2-4")
    status, _, _ = start("m.search.jsonl", work, *options).finish()
    assert status == -9
    (work / "out" / "m.onnx").write_bytes(b"somebody else's")
    status, _, err = start(0, work, *options, "--resume").finish()
    assert status == 2 and "m.onnx exists already" in err
    assert (work / "out" / "m.onnx").read_bytes() == b"somebody else's"


@pytest.mark.slow
def test_a_search_that_is_killed_again_and_again_comes_to_the_same_bytes(work: Path):
    options = ("--mixed", "3", "--mixed-range", "2-4")
    assert start(0, work, *options, name="a.onnx").finish()[0] == 0
    generator, tries = random.Random(1), 0
    while not (work / "out" / "b.onnx").exists():
        resume = ("--resume",) if (work / "out" / "b.search.jsonl").exists() else ()
        process = start(0, work, *options, *resume, name="b.onnx")
        time.sleep(generator.uniform(1, 2) + tries)
        process.kill()
        process.finish()
        tries += 1
    assert tries > 1
    for suffix in ("onnx", "recipe.json", "recipe.safetensors"):
        assert (work / "out" / f"a.{suffix}").read_bytes() == (work / "out" / f"b.{suffix}").read_bytes()


def test_what_was_left_behind_is_removed_after_an_hour(tmp_path: Path):
    old, young = tmp_path / ".m.1.part.onnx", tmp_path / ".m.2.part.onnx"
    other = tmp_path / ".n.1.part.onnx"
    for path in (old, young, other):
        path.write_bytes(b"part")
    an_hour_ago = time.time() - 3700
    os.utime(old, (an_hour_ago, an_hour_ago))
    os.utime(other, (an_hour_ago, an_hour_ago))
    write_together({tmp_path / "m.onnx": lambda path: path.write_bytes(b"whole") and None})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.2.part.onnx", ".n.1.part.onnx", "m.onnx"]
