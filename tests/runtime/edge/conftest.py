"""Tests of the HTP simulator that open many files run in a process of their own.

In one that has opened hundreds, Qualcomm's simulator refuses what it takes and takes what it refuses.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

_OWN_PROCESS = ("test_htp_rules.py",)
_INSIDE = "MPTQ_TESTS_INSIDE"

_results: dict[Path, dict[str, ElementTree.Element]] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Take the result of a test from the process that its file has."""
    if pyfuncitem.path.name not in _OWN_PROCESS or _INSIDE in os.environ:
        return None
    if pyfuncitem.path not in _results:
        _results[pyfuncitem.path] = _run(pyfuncitem)
    case = _results[pyfuncitem.path].get(pyfuncitem.name)
    if case is None:
        pytest.fail(f"no result of {pyfuncitem.name}", pytrace=False)
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            pytest.fail(found.text or kind, pytrace=False)
    if (skipped := case.find("skipped")) is not None:
        pytest.skip(skipped.get("message", ""))
    return True


def _run(item: pytest.Function) -> dict[str, ElementTree.Element]:
    """All chosen tests of a file, in one process."""
    folder = item.config.rootpath
    asked = [each.nodeid for each in item.session.items if each.path == item.path]
    with tempfile.TemporaryDirectory() as kept:
        report = Path(kept) / "results.xml"
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={report}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *asked],
            cwd=folder, env={**os.environ, _INSIDE: "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not report.exists():
            pytest.fail(done.stdout[-2000:] + done.stderr[-2000:], pytrace=False)
        return {str(case.get("name")): case for case in ElementTree.parse(report).iter("testcase")}
