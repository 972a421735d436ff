"""One budget over several models: widths, costs and estimates are of all of them."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from cli.helpers import save
from torch import nn

from mptq_export import calibrate, load
from mptq_export.allocate.allocation import Aim, Allocation
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.parts import SearchedPart, search_parts
from mptq_export.allocate.parts_problem import PartProblem, PartsProblem, pins_of
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.quantize.method import METHODS
from mptq_export.support.errors import MptqError

PINS = {"head": (4, 4)}


class Shared(nn.Module):
    """A head that is called at two places, as over the levels of a pyramid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.coarse = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, 2, 1)
        self.head, self.last = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 8, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.stem(x).relu()
        coarse = self.coarse(fine)
        return self.last(self.head(fine).relu()), self.last(self.head(coarse).relu())


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[SearchedPart]:
    model = load(save(tmp_path_factory.mktemp("parts") / "m.pt"))
    other = load(Shared(), img_size=32, mean=0.5, std=0.5)
    return [SearchedPart("first", calibrate(model, count=4)), SearchedPart("second", calibrate(other, count=6), 3.0)]


def settings(*budgets: str, **pins: tuple[int, int]) -> SearchRequest:
    read = tuple(Budget.parse(text) for text in budgets)
    return SearchRequest(read, WidthDomain.of_range(range(2, 5)), tied=False, pins=pins)


def searched(
    parts: list[SearchedPart], asked: SearchRequest, journal: Path, *, resume: bool = False
) -> list[tuple[Allocation, ...]]:
    return search_parts(parts, asked, "paper", journal, aim=Aim(), resume=resume)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts") / "search.jsonl"


@pytest.fixture(scope="module")
def found(parts: list[SearchedPart], journal: Path) -> list[tuple[Allocation, ...]]:
    return searched(parts, settings("3", "2.5", **PINS), journal)


def test_a_mean_width_is_that_of_all_parts(found: list[tuple[Allocation, ...]]):
    assert [[one.budget for one in each] for each in found] == [["3", "3"], ["2.5", "2.5"]]
    for budget, (first, second) in zip((3, 2.5), found, strict=True):
        costs = first.problem.costs, second.problem.costs
        weights = [sum(c.parameters.values()) for c in costs]
        means = [one.mean_bits for one in (first, second)]
        assert sum(m[0] * w for m, w in zip(means, weights, strict=True)) / sum(weights) <= budget + 1e-9
        often = [sum(c.macs.values()) for c in costs]  # of a picture, which has three inputs of the second
        assert sum(m[1] * n for m, n in zip(means, often, strict=True)) / sum(often) <= budget + 1e-9
        assert first.divergence == second.divergence > 0
        assert first.widths["head"] == second.widths["head"] == second.widths["head_2"] == (4, 4)
        assert second.widths["last"] == second.widths["last_2"]
        assert all(one.widths.keys() == one.problem.space.start.keys() for one in (first, second))
    front = found[0][0].front
    assert front == found[0][1].front and front[-1].mean_weight_bits <= 2.5
    assert {key.partition("/")[0] for point in front for key in point.lowered} == {"first", "second"}


def test_each_part_counts_by_its_own_scale(parts: list[SearchedPart], found: list[tuple[Allocation, ...]]):
    pinned = dict(zip(("first", "second"), pins_of([one.given.graph for one in found[0]], PINS), strict=True))
    each = [
        PartProblem(
            part.name,
            AllocationProblem(one.given, METHODS["paper"], replace(one.settings, pins=pinned[part.name])),
            part.per_picture,
        )
        for part, one in zip(parts, found[0], strict=True)
    ]
    shares = []
    for part, one in zip(each, found[0], strict=True):
        middle = {layer: (4, 4) if "head" in layer else (3, 3) for layer in part.problem.space.start}
        shares.append(fmean(part.problem.divergences(one.widths)) / fmean(part.problem.divergences(middle)))
    together = PartsProblem(each, found[0][0].settings)
    widths = {
        part.called(layer): pair for part, one in zip(each, found[0], strict=True) for layer, pair in one.widths.items()
    }
    assert fmean(together.divergences(widths)) == pytest.approx(sum(shares))
    assert found[0][0].divergence == pytest.approx(sum(shares))  # 3 is a rung: measured, not estimated
    whole = found[0][0].search.problem
    assert whole.part("second") == found[0][1].problem
    assert whole.costs.file_bytes(widths) == pytest.approx(together.costs_of_codes.file_bytes(widths))


def test_widths_are_kept_on_other_inputs(parts: list[SearchedPart], found: list[tuple[Allocation, ...]]):
    first, _ = found[0]
    other = calibrate(parts[0].calibrated.loaded, count=6)
    moved = first.on(other)
    assert moved.widths == first.widths and moved.calibrated is other
    recipes = [one.build_final_recipe()[1].weights for one in (first, moved)]
    assert all(before.bits == recipes[1][name].bits for name, before in recipes[0].items())
    assert any((before.codes != recipes[1][name].codes).any() for name, before in recipes[0].items())


def test_files_are_within_a_size_together_and_a_search_goes_on(
    parts: list[SearchedPart], found: list[tuple[Allocation, ...]], tmp_path: Path
):
    whole = found[0][0].search.problem
    most = 1.01 * whole.costs.file_bytes(whole.space.narrowest)
    asked, kept = settings(f"{most / 1e3:.2f}kB"), tmp_path / "x.jsonl"
    ((first, second),) = searched(parts, asked, kept)
    named = {"first": first.widths, "second": second.widths}
    widths = {f"{name}/{layer}": pair for name, own in named.items() for layer, pair in own.items()}
    assert first.search.problem.costs.file_bytes(widths) <= most + 5
    lines = len(kept.read_text().splitlines())
    ((again, _),) = searched(parts, asked, kept, resume=True)
    assert again.widths == first.widths and len(kept.read_text().splitlines()) == lines
    with pytest.raises(MptqError, match="journal of another search"):
        searched([replace(parts[0], per_picture=2.0), parts[1]], asked, kept, resume=True)


def test_a_pin_may_match_one_part_and_must_match_some(parts: list[SearchedPart], tmp_path: Path):
    with pytest.raises(MptqError, match="--pin nothing matches no layer of any part"):
        searched(parts, settings("3", nothing=(4, 4)), tmp_path / "x.jsonl")
