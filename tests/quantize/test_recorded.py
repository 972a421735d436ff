"""Rounding on a GPU, where blocks of columns are recorded: the codes of the same work unrecorded."""

from collections.abc import Callable

import pytest
import torch

from mptq_export.quantize.weights import gptq
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.columns import Codes, Tensors
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.level_codes import LevelCodes
from mptq_export.recipe.schema import WeightRegions

from .helpers import correlated, second_moment

CODES = {
    "range": lambda device: CodeRange.of(4),
    "levels": lambda device: LevelCodes.of(WeightRegions((-3, -1, 1, 3), 0), device),
    "outliers": lambda device: LevelCodes.of(WeightRegions((-3, -1, 1, 3), 3), device),
}


def codes_of(device: torch.device, codes: Codes, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, 150, generator=generator).to(device)
    scale = weight.abs().amax(1) / 5
    hessian = Hessian(second_moment(correlated(600, 150)).matrix.to(device))
    allowed = codes.at(scale, 1e-3) if isinstance(codes, LevelCodes) else codes
    rounded = gptq.round_gptq(weight, scale, hessian, allowed)
    return gptq.descend_coordinates(rounded, weight, scale, hessian, allowed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind", CODES)
def test_a_graph_rounds_as_its_work_does(kind: str, monkeypatch: pytest.MonkeyPatch):
    device = torch.device("cuda")
    codes = CODES[kind](device)
    recorded = [codes_of(device, codes, rows) for rows in (20, 70, 1100, 20)]  # the last one finds its graphs

    def unrecorded(work: Callable[..., Tensors], allowed: Codes, *blocks: torch.Tensor) -> Tensors:
        return work(*blocks, allowed)

    monkeypatch.setattr(gptq, "run_recorded", unrecorded)
    for rows, found in zip((20, 70, 1100, 20), recorded, strict=True):
        assert torch.equal(found, codes_of(device, codes, rows))


@pytest.mark.parametrize("kind", CODES)
def test_rows_that_fill_a_graph_change_no_others(kind: str, monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    alone = codes_of(cpu, CODES[kind](cpu), 20)
    monkeypatch.setattr(gptq, "rows_added", lambda rows: 7)
    assert torch.equal(alone, codes_of(cpu, CODES[kind](cpu), 20))
