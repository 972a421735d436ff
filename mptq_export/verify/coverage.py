"""Which tests of `kernels_ref` run which of its kernels: the list that it is shipped with."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mptq_export.support.typed_json import from_json


@dataclass(frozen=True)
class ReferenceTest:
    """One test of the reference.

    Attributes:
        cases: how often it runs, with other parameters each time.
        kernels: in how many of them a kernel ran to its end, by its name: an ONNX op or a fused kernel such as QGemm.
    """

    cases: int
    kernels: dict[str, int]


@dataclass(frozen=True)
class Coverage:
    """`kernels_ref/coverage.json`, which `tools.reference_tests` writes.

    Attributes:
        tests: by file and function.
    """

    tests: dict[str, ReferenceTest]


@cache
def coverage() -> dict[str, ReferenceTest]:
    """The tests of the reference, by file and function."""
    text = files("kernels_ref").joinpath("coverage.json").read_text(encoding="utf-8")
    return from_json(Coverage, json.loads(text)).tests
