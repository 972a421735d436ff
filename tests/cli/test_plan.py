"""What may be said with a plan follows from its fields, and is what the command line has options for."""

from pathlib import Path

import pytest

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.cli.export import main
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Replayed, Searched, Uniform
from mptq_export.export.request import OPTIONS
from mptq_export.support.errors import MptqError

CALIBRATING = {"images", "count", "exif", "allow_skipped", "any_range", "class_map", "device", "features"}
CHOSEN = {"pins", "method", "reconstruct", "resume", "residual_bits"}


def searched(*budgets: str, resume: bool = False) -> Searched:
    settings = SearchRequest(tuple(map(Budget.parse, budgets)), WidthDomain.of_range(range(3, 9)), tied=False, pins={})
    return Searched(settings, resume=resume)


def test_options_of_the_plans():
    assert OPTIONS[Uniform] == CALIBRATING | CHOSEN | {"bits"}
    assert OPTIONS[Searched] == CALIBRATING | CHOSEN | {"budgets", "widths", "tied", "metric"}
    assert OPTIONS[Replayed] == {"recipe"}


def test_every_field_of_a_plan_is_a_parameter_of_the_command():
    """Else a refusal of the command line would look for what is never there."""
    assert frozenset().union(*OPTIONS.values()) <= {parameter.name for parameter in main.params}


@pytest.mark.parametrize(("budgets", "names"), [(("4",), ["m.onnx"]), (("4", "3.5"), ["m.4.onnx", "m.3.5.onnx"])])
def test_a_file_a_budget(tmp_path: Path, budgets: tuple[str, ...], names: list[str]):
    found = Outputs(tmp_path / "m.onnx").of_each(searched(*budgets))
    assert [one.onnx for one in found] == [tmp_path / name for name in names]


def test_only_what_the_interrupted_search_wrote_may_be_replaced_unasked(tmp_path: Path):
    (tmp_path / "m.3.5.onnx").write_bytes(b"somebody else's")
    outputs = Outputs(tmp_path / "m.onnx")
    assert [one.force for one in outputs.of_each(searched("4", "3.5", resume=True))] == [True, False]
    assert [one.force for one in outputs.of_each(searched("4", "3.5"))] == [False, False]


def test_a_file_size_needs_widths_of_different_sizes(tmp_path: Path):
    outputs = Outputs(tmp_path / "m.onnx", min_ort="1.20")
    assert outputs.fitting(searched("4")).weight_storage == "int8"
    with pytest.raises(MptqError, match="with int8 all widths have one size"):
        outputs.fitting(searched("12kB"))
