"""The list of what runs in which test of the reference is whole; `kernels_ref/conftest.py` holds it to the runs."""

import ast
from pathlib import Path

from kernels_ref.ops.table import OPS
from mptq_export.verify.coverage import coverage

TESTS = Path(__file__).resolve().parents[1] / "kernels_ref"


def test_every_op_runs_in_a_test():
    ran = {kernel for test in coverage().values() for kernel in test.kernels}
    assert {*OPS, "MatMulIntegerToFloat"} - ran == set()


def test_the_list_names_the_tests_that_there_are():
    present = {
        f"tests/kernels_ref/{path.name}::{node.name}"
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert set(coverage()) == present
