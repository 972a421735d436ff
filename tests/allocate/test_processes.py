"""Several processes find what one finds, to the last bit, and one that ends is an error, not a wait."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import calibrated_graph, images

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.quantize.method import BEST
from mptq_export.support.errors import MptqError
from mptq_export.support.processes.devices import other_gpus, sharing
from mptq_export.support.processes.group import Alone, Group
from mptq_export.support.processes.started import Processes

from .called import ending, failing, given, keeping
from .searches import searched


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    """This process and another one."""
    handler = signal.getsignal(signal.SIGINT)
    with Processes([""]) as group:
        assert signal.getsignal(signal.SIGINT) is handler
        yield group


def test_results_come_in_the_order_of_the_processes(two: Processes):
    x = torch.randn(3, 4, dtype=torch.float64).T
    (first, *found), (second, *others) = two.call(given, x, name="a")
    assert (first, second) == (0, 1)
    assert torch.equal(found[0], 2 * x)
    assert torch.equal(others[0], found[0])
    assert others[0].dtype == x.dtype
    assert [*found[1], *others[1]] == list(range(5))
    assert found[2] == others[2] == "a"


def test_what_is_kept_stays_until_it_is_dropped(two: Processes):
    for group, expected in ((two, [3, 4]), (Alone(), [3])):
        group.call(keeping, "x", 3)
        assert group.call(keeping, "x", None) == expected
        group.drop("x")
        assert group.call(keeping, "x", None)[1:] == [None] * (len(expected) - 1)


def test_what_one_cannot_compute_is_one_line_and_the_others_go_on(two: Processes):
    with pytest.raises(MptqError, match=r"^process 1 of 2: ValueError: no$"):
        two.call(failing, 1)
    with pytest.raises(ValueError, match="no"):  # here, as it would be with one process
        two.call(failing, 0)
    assert two.call(failing, 2) == [0, 1]


def found_by(group: Group | None, journal: Path) -> tuple[Any, ...]:
    """Whatever a search decides with and finds."""
    calibrated = replace(calibrated_graph("vit"), images=images("vit", 20))
    settings = SearchRequest((Budget.parse("2.5"),), WidthDomain.of_range(range(2, 4)), False, {})
    problem = AllocationProblem(calibrated, BEST, settings, group=group)
    result = searched(problem, journal)
    measured = [line for line in journal.read_text().splitlines() if "widths" in json.loads(line)]
    importance = {name: rows.tolist() for name, rows in (problem.calibrated.importance or {}).items()}
    codes = {
        key: (quant.codes.tobytes(), quant.scale.tobytes(), quant.bias.tobytes())
        for key, quant in problem.catalogue.weights.items()
    }
    return measured, importance, codes, problem.catalogue.activations, problem.table, result.found[0].widths


def test_two_processes_search_as_one_does(two: Processes, tmp_path: Path):
    alone = found_by(None, tmp_path / "1.jsonl")
    assert len(alone[0]) > 2
    for one, shared in zip(alone, found_by(two, tmp_path / "2.jsonl"), strict=True):
        assert shared == one


def test_gpus_of_one_kind_share_a_search_unless_one_is_named(monkeypatch: pytest.MonkeyPatch):
    kinds = ["H100", "H100", "T4", "H100"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(kinds))
    monkeypatch.setattr(torch.cuda, "get_device_name", kinds.__getitem__)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert other_gpus(torch.device("cuda:0")) == ["1", "3"]
    assert other_gpus(torch.device("cuda:2")) == []
    assert other_gpus(torch.device("cpu")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 2,7,GPU-1234")
    assert other_gpus(torch.device("cuda:0")) == ["2", "GPU-1234"]
    with sharing("cuda:0", torch.device("cuda:0")) as group:
        assert group.size == 1
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)  # by a program with a group of its own
    assert other_gpus(torch.device("cuda:0")) == []


def test_a_process_that_ends_is_one_line(two: Processes):
    """The last test of this file: afterwards the group has one process."""
    with pytest.raises(MptqError, match=r"^a process for another GPU has ended \(status -9\); .*--resume"):
        two.call(ending)
    with pytest.raises(MptqError, match="has ended"):
        two.call(given, torch.zeros(1), name="a")
