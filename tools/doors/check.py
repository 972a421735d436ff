"""Reading a source as its user would, and comparing what comes of it with the original."""

import contextlib
import importlib
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export import calibrate, export, load
from mptq_export.cli.export import main as command
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.settings import MethodName
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from tools.doors.kind import Exports, Refused
from tools.doors.result import Status

#: Largest difference of a float output to the original's, by the largest output where that is above 1.
SAME = 1e-5

#: Largest relative error of an integer output at 8/8 on images of another kind than those of the calibration.
CLOSE = 0.5

#: A short export: 8 synthetic images, MPTQ-ViT as published.
COUNT = 8
METHOD: MethodName = "paper"

Arrays = dict[str, NDArray[np.float32]]
Found = dict[str, Any]
"""The attributes of a `Result` that a check fills."""


class WrongError(Exception):
    """What came of a source is not what had to come of it."""

    def __init__(self, status: Status, detail: str, **found: Any) -> None:
        super().__init__(detail)
        self.found: Found = {"status": status, "detail": detail, **found}


def check_exports(folder: Path, asked: Exports, inputs: torch.Tensor, wanted: Arrays) -> Found:
    """Load, compare with the original, export, compare onnxruntime with `kernels_ref`.

    Args:
        folder: the source lies in it, and it is the working folder.
        asked: what the builder says; its `outputs` are not called.
        inputs: float32 [3, C, H, W].
        wanted: the original's outputs of them.

    Raises:
        WrongError: the model is refused, or is another one, or its file is.
    """
    if asked.importable:
        sys.path.insert(0, str(folder))
    try:
        loaded = _loaded(asked)
    except MptqError as error:
        raise WrongError("wrongly refused", str(error)) from error
    _check_input(loaded, asked)
    names = [str(getattr(output, "name", output)) for output in loaded.outputs]
    difference = _float_difference(loaded, inputs, _by_name(names, wanted))
    found: Found = {"outputs": names, "float_difference": difference}
    if not difference <= SAME:
        raise WrongError("read wrongly", f"float outputs differ from the original's by {difference:.1e}", **found)
    path = folder / "exported.onnx"
    try:
        _export(loaded, asked, path)
    except MptqError as error:
        raise WrongError("wrongly refused", str(error), **found) from error
    found |= _compared(path, inputs.numpy(), _by_name(names, wanted))
    if found["differing"] or not found["file_error"] <= CLOSE:
        what = f"{found['differing']} values differ, relative error {found['file_error']:.2f}"
        raise WrongError("differs", what, **found)
    return {"status": "exports", **found}


def _loaded(asked: Exports) -> LoadedModel:
    return load(_module(asked.given) if asked.from_python else asked.given, **asked.options)


def _module(given: str) -> Any:
    """What ``package.module:function`` makes."""
    name, _, function = given.partition(":")
    return getattr(importlib.import_module(name), function)()


def _check_input(loaded: LoadedModel, asked: Exports) -> None:
    """Compare size, mean, std and class names.

    Raises:
        WrongError: one is another.
    """
    found = loaded.preprocessing
    for name, is_now, has_to in (
        ("input size", found.input_size, asked.size),
        ("mean", found.mean, asked.mean),
        ("std", found.std, asked.std),
    ):
        if len(is_now) != len(has_to) or not np.allclose(is_now, has_to, rtol=0, atol=1e-6):
            raise WrongError("read wrongly", f"{name} {tuple(is_now)} instead of {has_to}")
    if asked.class_names is not None and loaded.class_names != asked.class_names:
        lost = loaded.class_names is None
        what = "the class names are lost" if lost else f"class names {loaded.class_names}"
        raise WrongError("failed" if lost else "read wrongly", f"{what}; they are {asked.class_names}")


def _by_name(names: list[str], wanted: Arrays) -> list[NDArray[np.float32]]:
    """The original's outputs in the order of the loaded model's; a single one need not be called the same.

    Raises:
        WrongError: the original has no output of that name.
    """
    if len(names) == len(wanted) == 1:
        return list(wanted.values())
    strange = [name for name in names if name not in wanted]
    if strange or not names:
        raise WrongError("failed", f"outputs {', '.join(names)}; the original's are {', '.join(wanted)}")
    return [wanted[name] for name in names]


def _float_difference(loaded: LoadedModel, inputs: torch.Tensor, wanted: list[NDArray[np.float32]]) -> float:
    with torch.no_grad():
        given = loaded.model(inputs)
    outputs = [given] if isinstance(given, torch.Tensor) else list(given)
    if [tuple(output.shape) for output in outputs] != [each.shape for each in wanted]:
        shapes = [tuple(output.shape) for output in outputs]
        raise WrongError("read wrongly", f"outputs of shapes {shapes} instead of {[each.shape for each in wanted]}")
    return max(_difference(output.numpy(), each) for output, each in zip(outputs, wanted, strict=True))


def _difference(found: NDArray[Any], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def _export(loaded: LoadedModel, asked: Exports, path: Path) -> None:
    """Export as a user would: in Python what is made there, everything else by the command line.

    Raises:
        MptqError: it is refused.
        WrongError: the command ended in another way.
    """
    if asked.from_python:
        export(calibrate(loaded, count=COUNT), path, bits=(8, 8), method=METHOD)
        return
    quick = ["--bits", "8/8", "--count", str(COUNT), "--method", METHOD, "-o", str(path)]
    status, said = run_command([asked.given, *words(asked.options), *quick])
    if status == 2:
        raise MptqError(said)
    if status != 0:
        raise WrongError("failed", f"exit status {status}: {said}")


def _compared(path: Path, inputs: NDArray[np.float32], wanted: list[NDArray[np.float32]]) -> Found:
    report = verify_model(path, [inputs[:1], inputs])
    if not report.passed:
        raise WrongError("differs", f"{report.verdict}: {'; '.join(report.reservations)}", differing=report.differing)
    given = open_session(path).run(None, {"input": inputs})
    errors = [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(given, wanted, strict=True)]
    return {"values": report.values, "differing": report.differing, "file_error": max(errors)}


def check_refused(folder: Path, asked: Refused) -> Found:
    """Give the command what it has to refuse.

    Raises:
        WrongError: it does not, or not as it has to: status 2, one line, the way out, no file left.
    """
    before = set(folder.rglob("*"))
    status, said = run_command([asked.given, *words(asked.options), "--count", str(COUNT), "-o", "refused.onnx"])
    if status == 0:
        raise WrongError("not refused", "exported")
    if status != 2 or len(said.splitlines()) != 1 or not said.startswith("error: "):
        raise WrongError("failed", f"exit status {status}: {said}")
    line = said.removeprefix("error: ")
    left = {path for path in folder.rglob("*") if "__pycache__" not in path.parts} - before
    if left:
        raise WrongError("failed", f"left {', '.join(sorted(path.name for path in left))} behind: {line}")
    missing = [pattern for pattern in asked.says if not re.search(pattern, line)]
    if missing:
        raise WrongError("failed", f"does not say {' or '.join(missing)}: {line}")
    return {"status": "refused", "detail": line}


def run_command(arguments: list[str]) -> tuple[int, str]:
    """``mptq-export`` in this process: its exit status, and what it said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            command.main(args=arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return status, said.getvalue().strip()


def words(options: Mapping[str, Any]) -> list[str]:
    """Keyword arguments of `load` as options of the command line."""
    found: list[str] = []
    for name, value in options.items():
        found.append("--" + name.replace("_", "-"))
        if isinstance(value, dict):
            found.append(json.dumps(value))
        elif isinstance(value, tuple | list):
            found.append(",".join(map(str, value)))
        elif value is not True:
            found.append(str(value))
    return found
