"""The working folder of the command-line tests, and its model, calibrated once."""

from pathlib import Path

import pytest
from cli.conftest import work
from cli.helpers import save

from mptq_export import calibrate, load
from mptq_export.api import Calibrated

__all__ = ["work"]


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """A tiny model on four synthetic images."""
    path: Path = save(tmp_path_factory.mktemp("api") / "m.pt")
    return calibrate(load(path), count=4)
