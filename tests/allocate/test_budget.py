"""Budgets: what can be written, and what is refused."""

import pytest

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.support.errors import MptqError


@pytest.mark.parametrize(
    ("text", "kind", "most"),
    [
        ("5", "bits", 5.0),
        ("4.5", "bits", 4.5),
        (" 3.25 ", "bits", 3.25),
        ("700kB", "bytes", 7e5),
        ("12MB", "bytes", 12e6),
        ("2GB", "bytes", 2e9),
        ("15ms", "latency", 15.0),
        ("900us", "latency", 0.9),
        ("1.5s", "latency", 1500.0),
        ("5/12", "bits", 5.0),
        ("75%", "operations share", 0.75),
        ("20GBOPs", "operations", 2e10),
        ("0.1TBOPs", "operations", 1e11),
    ],
)
def test_what_can_be_written(text: str, kind: str, most: float):
    budget = Budget.parse(text)
    assert (budget.text, budget.kind) == (text.strip(), kind)
    assert budget.most == pytest.approx(most)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "four",
        "0",
        "0.0",
        "-4",
        "4bits",
        "4,5",
        "1e3",
        "0MB",
        "12 mb",
        "4/",
        "0/8",
        "8/0",
        "20GBOP",
        "5/12MB",
        ".",
        "nan",
        "0ms",
        "5min",
    ],
)
def test_anything_else_is_refused(text: str):
    with pytest.raises(MptqError, match="neither a mean bit-width such as") as raised:
        Budget.parse(text)
    assert f"--mixed {text} " in str(raised.value)


def test_a_mean_is_of_both_sides_where_both_can_have_it():
    assert Budget.parse("4.5").most_activations == 4.5
    assert Budget.parse("4.5", both=False).most_activations is None
    assert Budget.parse("5/12", both=False).most_activations == 12
    assert Budget.parse("12MB").most_activations is None


@pytest.mark.parametrize(("text", "label"), [("5/12", "5-12"), ("75%", "75pct"), ("4.5", "4.5"), ("12MB", "12MB")])
def test_a_budget_is_part_of_a_files_name(text: str, label: str):
    assert Budget.parse(text).label == label


def test_a_refusal_names_the_option():
    with pytest.raises(MptqError, match=r"^--pick five is neither"):
        Budget.parse("five", option="--pick")
    domain = WidthDomain.of_range(range(3, 9))
    refused = str(Budget.parse("2", option="--pick").not_met(domain, "3"))
    assert refused.startswith("--pick 2 cannot be met") and "or search again with a lower --mixed-range" in refused
    assert "search again" not in str(Budget.parse("2").not_met(domain, "3"))
