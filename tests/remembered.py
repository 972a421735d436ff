"""What exports make is made once for all tests and both workers: captured graphs, recipes, checks of finished files.

All three depend on their arguments alone, and are three quarters of the time of a tiny export. Arguments count by their
values: another weight, image, width or byte of a file is another result, made anew. Only the package itself is given
what was made before; a test that calls `capture`, `build_recipe` or `verify_model` runs them.
"""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import mptq_export.export.run  # noqa: F401 - all that exports
from mptq_export.allocate.units import layers
from mptq_export.capture import run as tracing
from mptq_export.capture.graph import Graph
from mptq_export.load.timm.infer import function_of
from mptq_export.quantize import build_recipe as quantizing
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.recipe.outputs import LOGITS, Output
from mptq_export.recipe.schema import Recipe
from mptq_export.support.progress import SILENT, Bar
from mptq_export.verify import compare
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_contents
from mptq_export.verify.report import VerifyReport


class Memory:
    """Results by the digest of what they were made from.

    Attributes:
        forgotten: while it is true, nothing that was made before is used.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` is that of all workers; None where there is one process."""
        self.forgotten = False
        self._folder = folder
        self._made: dict[str, Any] = {}

    def forget(self) -> None:
        """Make everything anew for the rest of the test: it compares two exports."""
        self.forgotten = True

    def recall(self, key: str, make: Callable[[], Any]) -> Any:
        """What was made for a key, or what `make` gives now."""
        if self.forgotten:
            return make()
        if key not in self._made:
            self._made[key] = self._shared(key, make)
        return self._made[key]

    def _shared(self, key: str, make: Callable[[], Any]) -> Any:
        if self._folder is None:
            return make()
        path = self._folder / key
        if path.exists():
            return pickle.loads(path.read_bytes())
        made = make()
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(made))
        part.rename(path)  # at once: the other worker sees all of it or nothing
        return made


@contextmanager
def remembering(folder: Path | None) -> Iterator[Memory]:
    """Exports take what was made before."""
    memory = Memory(folder)

    def capture(model: nn.Module, input_size: tuple[int, int, int], outputs: tuple[Output, ...] = LOGITS) -> Graph:
        weights = dict((*model.named_parameters(), *model.named_buffers()))
        key = digest("capture", function_of(model), weights, input_size, outputs)
        return memory.recall(key, lambda: capture_anew(model, input_size, outputs))

    def build_recipe(
        calibrated: CalibratedGraph,
        widths: WidthsOf,
        method: Method,
        bar: Bar = SILENT,
        *,
        form: Form = EXACT,
    ) -> tuple[Graph, Recipe]:
        asked = {node.name: widths(node.name) for node in layers(calibrated.graph)}
        key = digest("recipe", calibrated, asked, method, form)
        graph, recipe = memory.recall(key, lambda: build_recipe_anew(calibrated, widths, method, form=form))
        bar.advance(1)
        return graph, deepcopy(recipe)

    def verify_model(path: Path, inputs: Iterable[NDArray[Any]], **options: Any) -> VerifyReport:
        batches, model = list(inputs), load_onnx(path)
        if dict(vars(compare)) != plain:  # a test put something of its own there
            return verify_model_anew(path, batches, **options)
        origin = check_contents(model)
        del model.metadata_props[:]
        model.doc_string = ""
        key = digest("check", model.SerializeToString(deterministic=True), batches, options)
        report = memory.recall(key, lambda: verify_model_anew(path, batches, **options))
        return replace(report, model=str(path), origin=origin)

    capture_anew, build_recipe_anew, verify_model_anew = tracing.capture, quantizing.build_recipe, compare.verify_model
    with pytest.MonkeyPatch.context() as patch:
        _put(patch, "mptq_export", capture_anew, capture)
        _put(patch, "mptq_export", build_recipe_anew, build_recipe)
        _put(patch, "mptq_export.export", verify_model_anew, verify_model)
        plain = dict(vars(compare))
        yield memory


def _put(patch: pytest.MonkeyPatch, package: str, original: object, ours: object) -> None:
    """Replace a function in all modules of a package that name it."""
    modules = [module for name, module in sys.modules.items() if f"{name}.".startswith(f"{package}.")]
    found = [(module, name) for module in modules for name, value in vars(module).items() if value is original]
    assert found, f"nothing in {package} uses {original}"
    for module, name in found:
        patch.setattr(module, name, ours)


def digest(*values: Any) -> str:
    """SHA-256 of values, whatever holds them."""
    found = hashlib.sha256()
    for part in _parts(values):
        found.update(part)
        found.update(b"\0")
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, bytes):
        yield value
    elif value is None or isinstance(value, bool | int | float | str):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        for entry in value.items():
            yield from _parts(entry)
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield type(value).__name__.encode()
        yield from _parts({name: entry for name, entry in vars(value).items() if not name.startswith("_")})
