"""A kind from its builder to its result, in two processes: who reads a source must not know who wrote it."""

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.doors.check import Found, WrongError, check_exports, check_refused
from tools.doors.kind import Exports, Kind, Refused, fixed_inputs
from tools.doors.kinds import KINDS, group_of
from tools.doors.result import Result
from tools.in_process import LostError, in_process
from tools.short_paths import short_paths

_REFERENCE = "reference.npz"


def missing_libraries(kind: Kind) -> list[str]:
    """Those that are not installed."""
    return [name for name, found in _versions(kind).items() if not found]


def _versions(kind: Kind) -> dict[str, str]:
    return {name: _version(name) for name in kind.libraries}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def run_kind(kind: Kind, timeout: float) -> Result:
    """Write, read and compare one kind."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what is asked for lies in the folder
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = _apart(_write, kind.name, Path(folder), timeout)
        if "door" in found:
            found = _apart(_read, found["door"], Path(folder), timeout)
    row = Result(kind.name, group_of(kind), _versions(kind), **found)
    return replace(row, seconds=round(time.perf_counter() - start, 1))


def _apart(job: Callable[[Any, Path], Found], about: Any, folder: Path, timeout: float) -> Found:
    """What a job finds, in a process of its own."""
    try:
        return in_process(_found, job, about, folder, timeout=timeout, preload=[__name__])
    except LostError as error:
        return {"status": "failed", "detail": f"{job.__name__}: {error}"}


def _found(job: Callable[[Any, Path], Found], about: Any, folder: Path) -> Found:
    torch.set_num_threads(1)
    os.chdir(folder)
    silence = os.open(os.devnull, os.O_WRONLY)  # what libraries print while they write
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        found = job(about, folder)
    except WrongError as wrong:
        found = wrong.found
    except Exception as error:  # noqa: BLE001 - a defect is a result here
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        detail = f"{job.__name__}: {type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {first}"
        found = {"status": "failed", "detail": detail}
    return {**found, "detail": short_paths(found["detail"])} if "detail" in found else found


def _write(name: str, folder: Path) -> Found:
    """Let a builder write, and keep what the original computes."""
    (kind,) = (each for each in KINDS if each.name == name)
    door = kind.build(folder)
    if isinstance(door, Exports):
        inputs = fixed_inputs(door.size, door.mean, door.std)
        with torch.no_grad():
            outputs = {name: value.numpy() for name, value in door.outputs(inputs).items()}
        flat = [name for name, value in outputs.items() if not value.std() > 1e-3]
        if flat:
            raise ValueError(f"the original gives the same number everywhere in {', '.join(flat)}")
        arrays: dict[str, Any] = {f"output {name}": value for name, value in outputs.items()}
        np.savez(folder / _REFERENCE, inputs=inputs.numpy(), **arrays)
        door = replace(door, outputs=dict)  # what is compared with lies in the file
    return {"door": door}


def _read(door: Exports | Refused, folder: Path) -> Found:
    if isinstance(door, Refused):
        return check_refused(folder, door)
    with np.load(folder / _REFERENCE) as arrays:
        inputs = torch.from_numpy(arrays["inputs"])
        wanted = {name.removeprefix("output "): arrays[name] for name in arrays.files if name != "inputs"}
    return check_exports(folder, door, inputs, wanted)
