"""The table of other runtimes: what is refused before anything is opened, in one line that says what to type."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from mptq_export.runtime.edge import opening
from mptq_export.runtime.edge.opening import RUNTIMES, check_runtime, open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import RuntimeName
from mptq_export.support.errors import MptqError


def test_every_row_has_a_name_that_the_interface_knows_and_takes_options_that_exist():
    assert set(RUNTIMES) <= set(get_args(RuntimeName))
    for row in RUNTIMES.values():
        assert row.takes <= set(EdgeOptions.__dataclass_fields__)


def test_an_unknown_runtime_is_refused_with_those_that_exist():
    with pytest.raises(MptqError, match="--runtime snpe is not known; choose one of qnn"):
        open_edge("snpe", Path("model.onnx"))


def test_a_runtime_that_is_not_installed_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    absent = {**RUNTIMES, "qnn": replace(RUNTIMES["qnn"], package="onnxruntime_of_nobody")}
    monkeypatch.setattr(opening, "RUNTIMES", absent)
    with pytest.raises(MptqError, match=r'not installed; type: pip install "mptq-export\[qnn\]"'):
        check_runtime("qnn")


def test_an_option_of_another_runtime_is_refused():
    with pytest.raises(MptqError, match="--runtime qnn does not take the option python; it takes: backend, soc"):
        check_runtime("qnn", EdgeOptions(python=Path("python3")))
