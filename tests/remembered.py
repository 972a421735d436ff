"""What exports make is made once for all tests and both workers: captured graphs, recipes, transforms and quantizers of
searches, checks of finished files, synthetic images, and the drawings of reports.

All of it depends on its arguments alone, and is most of the time of a tiny export. Arguments count by their values:
another weight, image, width or byte of a file is another result, made anew. Only the package itself is given what was
made before; a test that calls `capture`, `build_recipe`, `verify_model`, `dead_leaves` or a chart runs them.
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
from markupsafe import Markup
from numpy.typing import NDArray
from torch import nn

import mptq_export.export.run  # noqa: F401 - all that exports
from mptq_export.allocate import exact_form, problem
from mptq_export.allocate.catalogue import ExactCatalogue
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import layers
from mptq_export.capture import run as tracing
from mptq_export.capture.graph import Graph
from mptq_export.data import synthetic
from mptq_export.load.timm.infer import function_of
from mptq_export.quantize import build_recipe as quantizing
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.recipe.outputs import LOGITS, Output
from mptq_export.recipe.schema import Recipe
from mptq_export.report import charts
from mptq_export.support.processes.group import Alone, Group
from mptq_export.support.progress import SILENT, Bar
from mptq_export.verify import compare
from mptq_export.verify.onnx_file import load_onnx
from mptq_export.verify.origin import check_contents
from mptq_export.verify.report import VerifyReport


class Memory:
    """Results by the digest of what they were made from.

    Attributes:
        forgotten: while it is true, nothing that files are made of is taken from before.
        unchecked: while it is true, neither are checks, images and drawings.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` is that of all workers; None where there is one process."""
        self.forgotten = self.unchecked = False
        self._folder = folder
        self._made: dict[str, Any] = {}

    def forget(self, *, checks: bool = False) -> None:
        """Make anew, for the rest of the test, what files are made of: it compares two. With `checks` all else too."""
        self.forgotten, self.unchecked = True, checks

    def remember(self) -> None:
        """Take what was made before again."""
        self.forgotten = self.unchecked = False

    def recall(self, key: str, make: Callable[[], Any]) -> Any:
        """Something that files are made of: what was made for a key, or what `make` gives now."""
        return make() if self.forgotten else self.look_up(key, make)

    def look_up(self, key: str, make: Callable[[], Any]) -> Any:
        """The same of what never changes a file."""
        if self.unchecked:
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

    def choose_transforms(
        calibrated: CalibratedGraph, widths: WidthsOf, method: Method, form: Form, bar: Bar = SILENT
    ) -> tuple[Graph, Recipe]:
        asked = {node.name: widths(node.name) for node in layers(calibrated.graph)}
        key = digest("transforms", calibrated, asked, method, form)
        graph, recipe = memory.recall(key, lambda: choose_transforms_anew(calibrated, widths, method, form))
        bar.advance(1)
        return graph, deepcopy(recipe)

    def collect_catalogue(
        calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group
    ) -> ExactCatalogue:
        if not isinstance(group, Alone):
            return collect_catalogue_anew(calibrated, method, space, group)
        key = digest("catalogue", calibrated, method, space)
        found = memory.recall(key, lambda: collect_catalogue_anew(calibrated, method, space))
        group.call(lambda seat: seat.bar.advance(1))
        return deepcopy(found)

    def verify_model(path: Path, inputs: Iterable[NDArray[Any]], **options: Any) -> VerifyReport:
        batches, model = list(inputs), load_onnx(path)
        if dict(vars(compare)) != plain:  # a test put something of its own there
            return verify_model_anew(path, batches, **options)
        origin = check_contents(model)
        del model.metadata_props[:]
        model.doc_string = ""
        key = digest("check", model.SerializeToString(deterministic=True), batches, options)
        report = memory.look_up(key, lambda: verify_model_anew(path, batches, **options))
        return replace(report, model=str(path), origin=origin)

    def draw_leaves(count: int, size: int, seed: int = 0, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        for index in range(start, count):
            key = digest("leaves", size, seed, index)
            yield memory.look_up(key, lambda index=index: next(draw_leaves_anew(index + 1, size, seed, index)))

    def drawn(chart: Callable[..., Markup]) -> Callable[..., Markup]:
        return lambda *of: memory.look_up(digest(chart.__name__, of), lambda: chart(*of))

    capture_anew, build_recipe_anew, verify_model_anew = tracing.capture, quantizing.build_recipe, compare.verify_model
    choose_transforms_anew, collect_catalogue_anew = problem.choose_transforms, exact_form.collect_catalogue
    draw_leaves_anew = synthetic.draw_leaves
    with pytest.MonkeyPatch.context() as patch:
        for reader in ("comparison_images", "sources.synthetic"):
            _put(patch, f"mptq_export.data.{reader}", draw_leaves_anew, draw_leaves)
        for chart in (charts.front_chart, charts.error_chart, charts.ranges_chart, charts.levels_chart):
            _put(patch, "mptq_export.report", chart, drawn(chart))
        _put(patch, "mptq_export", capture_anew, capture)
        _put(patch, "mptq_export", build_recipe_anew, build_recipe)
        _put(patch, "mptq_export.allocate.problem", choose_transforms_anew, choose_transforms)
        _put(patch, "mptq_export.allocate.exact_form", collect_catalogue_anew, collect_catalogue)
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
