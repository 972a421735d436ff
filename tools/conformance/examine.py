"""One model from its name to its row."""

import time
import traceback
from pathlib import Path

import torch

from mptq_export.support.errors import MptqError
from tools.conformance.libraries import LIBRARIES
from tools.conformance.row import EXACT, FAILED, REFUSED, TOO_LARGE, Row
from tools.in_process import LostError, in_process
from tools.short_paths import short_paths


def tried(library: str, arch: str, family: str, *, most: int, timeout: float, threads: int = 1) -> Row:
    """Examine a model in a process of its own, which may die or hang."""
    start = time.perf_counter()
    try:
        return in_process(examine, library, arch, family, most, threads, timeout=timeout, preload=[__name__])
    except LostError as error:
        return Row(arch, family, FAILED, str(error), 0, 0, round(time.perf_counter() - start, 1), library)


def examine(library: str, arch: str, family: str, most: int, threads: int = 1) -> Row:
    """Build, export and compare one model."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    parameters, side, reduced = 0, 0, ""
    try:
        found = LIBRARIES[library].prepare(arch)
        parameters, side, reduced = found.parameters, found.side, found.reduced
        if parameters > most:
            status, detail = TOO_LARGE, f"{parameters / 1e6:.0f} million parameters"
        else:
            status, detail = EXACT, found.compare()
    except MptqError as error:
        status, detail = REFUSED, str(error)
    except Exception as error:  # noqa: BLE001 - a defect is a result here
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        status, detail = FAILED, f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {first}"
    seconds = round(time.perf_counter() - start, 1)
    return Row(arch, family, status, short_paths(detail), parameters, side, seconds, library, reduced)
