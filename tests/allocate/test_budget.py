"""Budgets: what can be written, and what is refused."""

import pytest

from mptq_export.allocate.budget import Budget
from mptq_export.errors import MptqError


@pytest.mark.parametrize(("text", "bits"), [("5", 5.0), ("4.5", 4.5), (" 3.25 ", 3.25)])
def test_mean_bits(text: str, bits: float):
    budget = Budget.parse(text)
    assert (budget.text, budget.mean_bits, budget.file_bytes) == (text.strip(), bits, None)
    assert budget.size == budget.bits == bits


@pytest.mark.parametrize(("text", "size"), [("700kB", 7e5), ("12MB", 12e6), ("1.5MB", 1.5e6), ("2GB", 2e9)])
def test_file_sizes(text: str, size: float):
    budget = Budget.parse(text)
    assert (budget.mean_bits, budget.file_bytes) == (None, size)
    assert budget.bits == 0
    assert budget.size == size


@pytest.mark.parametrize(
    "text", ["", "four", "0", "0.0", "-4", "4bits", "4,5", "1e3", "0MB", "12 mb", "4/4", ".", "nan"]
)
def test_anything_else_is_refused(text: str):
    with pytest.raises(MptqError, match="neither a mean bit-width such as") as raised:
        Budget.parse(text)
    assert f"--mixed {text} " in str(raised.value)
