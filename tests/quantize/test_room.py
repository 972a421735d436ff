"""What waits in files instead of memory: the same recipe, no file left, one line where the disk is full."""

import errno
import gc
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cli.helpers import run, save
from remembered import Memory
from tiny_models import prepared, quantized, quantized_anew
from torch.utils._python_dispatch import TorchDispatchMode

from mptq_export.capture.mapped_tensors import in_file, put_aside
from mptq_export.quantize.walk import room
from mptq_export.quantize.walk.room import Room
from mptq_export.recipe.schema import Recipe
from mptq_export.support import mapped
from mptq_export.support.errors import MptqError
from mptq_export.support.mapped import map_file

CPU = torch.device("cpu")


def bounded(monkeypatch: pytest.MonkeyPatch, most: float) -> list[int]:
    """Let so many bytes wait in memory; returns the sizes of the files that are made from now on."""
    sizes: list[int] = []

    def counted(shape: tuple[int, ...], dtype: torch.dtype) -> object:
        sizes.append(math.prod(shape) * dtype.itemsize)
        return in_file(shape, dtype)

    monkeypatch.setattr(room, "SMALL", 0)
    monkeypatch.setattr(room, "memory_bound", lambda _device: most)
    monkeypatch.setattr(room, "in_file", counted)
    return sizes


def roomy(most: float) -> Room:
    """A room of so many bytes."""
    found = Room(CPU)
    found.most = most
    return found


def assert_same_recipe(found: Recipe, expected: Recipe) -> None:
    """Every bit of it."""
    assert found.activations == expected.activations
    assert found.weights.keys() == expected.weights.keys()
    for name, quant in expected.weights.items():
        for part in ("codes", "scale", "bias"):
            assert np.array_equal(getattr(found.weights[name], part), getattr(quant, part)), (name, part)
    for name, sq_b in expected.sq_b.items():
        assert np.array_equal(found.sq_b[name].scale, sq_b.scale)
        assert np.array_equal(found.sq_b[name].shift, sq_b.shift)


@pytest.mark.parametrize(("kind", "most"), [("vit", 0), ("vit", 300_000), ("swin", 0)])
def test_a_walk_in_little_memory_chooses_the_same(monkeypatch: pytest.MonkeyPatch, kind: str, most: float):
    graph, expected = quantized(kind, (4, 4))
    sizes = bounded(monkeypatch, most)
    found_graph, found = quantized_anew(kind, (4, 4))
    assert len(sizes) > 10
    assert_same_recipe(found, expected)
    for node, same in zip(found_graph, graph, strict=True):
        assert all(torch.equal(node.params[key].float(), value.float()) for key, value in same.params.items())


class OnlyMoved(TorchDispatchMode):
    """Nothing but movement may touch what waits in files: on a GPU it lies in another memory."""

    _MOVES = (
        *("alias", "as_strided", "cat", "clone", "constant_pad_nd", "copy_", "detach", "expand", "lift_fresh"),
        *("permute", "_reshape_alias", "roll", "select", "slice", "split", "transpose", "unsqueeze", "view"),
        "_unsafe_view",
    )

    def __init__(self, waits: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self._waits = waits
        self.seen = set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for each in _flat((*args, *(kwargs or {}).values())) if isinstance(each, torch.Tensor)]
        if any(self._waits(each) for each in tensors):
            name = func.__name__.split(".")[0]
            self.seen.add(name)
            assert name in self._MOVES, f"{name} computes with what waits elsewhere"
        return func(*args, **(kwargs or {}))


def _flat(values: Any) -> Iterator[object]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def test_what_waits_elsewhere_is_fetched_before_it_is_computed_with(monkeypatch: pytest.MonkeyPatch):
    """The walk of a GPU whose memory is full, with copies in place of transfers."""
    _, expected = quantized("vit", (4, 4))
    bounded(monkeypatch, 0)
    made: list[Room] = []
    begin = Room.__init__

    def remembered(self: Room, device: torch.device) -> None:
        begin(self, device)
        made.append(self)

    monkeypatch.setattr(Room, "__init__", remembered)
    monkeypatch.setattr(Room, "fetched", lambda _self, value: value.clone())
    monkeypatch.setattr(Room, "keep", lambda _self, value, _waiting: value)  # weights stay on the device
    with OnlyMoved(lambda value: any(each.is_elsewhere(value) for each in made)) as mode:
        _, found = quantized_anew("vit", (4, 4))
    assert {"clone", "copy_"} <= mode.seen
    assert_same_recipe(found, expected)


def test_room_is_taken_until_it_is_full():
    place = roomy(1000)
    first = place.empty((100,), torch.float64, [])
    second = place.empty((100,), torch.float64, [first])
    assert not place.is_elsewhere(first)
    assert place.is_elsewhere(second)
    assert place.settled(first[10:20], [first]).data_ptr() == first[10:].data_ptr()  # a view takes no memory
    assert place.settled(second[3:4], [first]).data_ptr() == second[3:].data_ptr()
    third = torch.arange(100.0, dtype=torch.float64)
    assert place.settled(third, []) is third
    moved = place.settled(third, [first])
    assert place.is_elsewhere(moved)
    assert torch.equal(moved, third)


def test_what_is_kept_takes_room_from_what_comes(monkeypatch: pytest.MonkeyPatch):
    place = roomy(0)
    assert not place.is_elsewhere(place.keep(torch.ones(100), []))  # too little for a file of its own
    monkeypatch.setattr(room, "SMALL", 800)
    place.most = 1000
    weight = torch.ones(100, dtype=torch.float64)
    assert place.keep(weight, []) is weight
    other = place.keep(weight, [])
    assert place.is_elsewhere(other)
    assert torch.equal(other, weight)
    assert place.is_elsewhere(place.empty((50,), torch.float64, []))


def test_an_empty_value_needs_no_file():
    assert roomy(-1).empty((0, 3), torch.float32, []).shape == (0, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of the process")
def test_what_rests_is_out_of_memory_and_comes_back():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")  # of files

    place, size = roomy(0), 1 << 26
    value = place.empty((size,), torch.uint8, []).fill_(7)
    full = resident()
    place.rest()
    assert resident() < full - size // 2
    assert int(value[:: size // 64].min()) == 7


def test_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = roomy(0)
    value = place.empty((1000,), torch.float32, []).fill_(1)
    assert not list(tmp_path.iterdir())  # none has a name, so none outlives the process
    del value
    gc.collect()
    place.rest()
    assert not place._mapped


def test_weights_that_are_put_aside_are_the_same():
    graph = prepared("vit")
    size = sum(value.nbytes for node in graph for value in node.params.values())
    assert put_aside(graph, many=size + 1) is graph
    aside = put_aside(graph, many=size)
    for node, same in zip(aside, graph, strict=True):
        assert node.params.keys() == same.params.keys()
        for name, value in node.params.items():
            assert value.data_ptr() != same.params[name].data_ptr()
            assert torch.equal(value, same.params[name])


def test_weights_stay_where_they_are_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    graph = prepared("vit")
    same = zip(put_aside(graph, many=1), graph, strict=True)
    assert all(node.params[name] is value for node, other in same for name, value in other.params.items())


def test_a_disk_that_fills_up_ends_the_export_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Memory
):
    bounded(monkeypatch, 0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MptqError, match=r"No space left on device.*TMPDIR"):
        map_file(1 << 20)
    memory.forget()
    result = run(save(tmp_path / "m.pt"), "--bits", "8/8", "--count", 4)
    assert result.exit_code == 2, result.output
    assert "No space left on device" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_too_small_a_disk_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def working(*_: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(import_module("mptq_export.calibrate.calibrated"), "collect", working)
    monkeypatch.setattr(mapped, "SHARE", 0.0)
    checkpoint = save(tmp_path / "m.pt")
    assert isinstance(run(checkpoint, "--count", 100).exception, AssertionError)  # there is room on the disk
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**5))
    result = run(checkpoint, "--count", 100)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in ("calibrating on 100 images needs", "GiB", "TMPDIR", "--count"))


def test_float64_values_are_refused_before_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A method that measures holds three times what calibration knows of."""
    monkeypatch.setattr(mapped, "SHARE", 0.0)
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=8 * 2 * 3 * 32 * 32 * 8))
    result = run(save(tmp_path / "m.pt"), "--count", 8)
    assert result.exit_code == 2, result.output
    assert "quantizing with 8 images needs" in result.stderr
