"""Which op runs in which test: what `kernels_ref/coverage.json` says, held to what happens.

Every test here notes the kernels of the interpreters that it ran to their end. At the end of a file they are compared
with the list; with `MPTQ_RECORD_COVERAGE` (see `tools.reference_tests`) they are written down instead.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kernels_ref import Interpreter
from mptq_export.verify.coverage import coverage


@dataclass
class _Ran:
    """What the tests of one file ran: of each function how many cases, and in how many of them each kernel."""

    cases: Counter[str] = field(default_factory=Counter)
    kernels: dict[str, Counter[str]] = field(default_factory=dict)


@pytest.fixture(autouse=True, scope="module")
def ran(request: pytest.FixtureRequest) -> Iterator[_Ran]:
    """Compares at the end of a file; a selection of its cases may run less than the list says, and nothing else."""
    found = _Ran()
    yield found
    record = os.environ.get("MPTQ_RECORD_COVERAGE")
    if record:
        with open(record, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"cases": found.cases, "kernels": found.kernels}) + "\n")
        return
    listed = coverage()
    advice = "python -m tools.reference_tests writes the list anew"
    for test, cases in found.cases.items():
        assert test in listed, f"kernels_ref/coverage.json lacks {test}: {advice}"
        kernels = found.kernels[test]
        if cases == listed[test].cases:
            assert kernels == listed[test].kernels, f"{test} runs other kernels than coverage.json says: {advice}"
        assert not kernels - Counter(listed[test].kernels), f"{test} runs more than coverage.json says: {advice}"


@pytest.fixture(autouse=True)
def _noted(request: pytest.FixtureRequest, ran: _Ran, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    seen: set[str] = set()
    run = Interpreter.run

    def noting(self: Interpreter, *arguments: Any, **options: Any) -> Any:
        result = run(self, *arguments, **options)
        seen.update(kernel.op for kernel in self.kernels)
        return result

    monkeypatch.setattr(Interpreter, "run", noting)
    yield
    test = request.node.nodeid.partition("[")[0]
    ran.cases[test] += 1
    ran.kernels.setdefault(test, Counter()).update(seen)
