"""Golden outputs of a portable file, and how far from them a device may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.evaluate.given import Given
from mptq_export.kit.golden import Golden
from mptq_export.kit.portable.limits import Apart, Spread, Tolerance
from mptq_export.kit.portable.nudged import nudged
from mptq_export.kit.portable.tolerance import apart, largest, tolerance
from mptq_export.recipe.outputs import Output, OutputKind
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.elsewhere.final_codes import step_of
from mptq_export.verify.onnx_file import metadata_of

#: Files with nudged codes: the largest difference of several is less a matter of luck.
SEEDS = (1, 2, 3)

Outputs = list[dict[str, NDArray[Any]]]
"""For every golden input the outputs by name."""


@dataclass(frozen=True)
class GoldenOutput:
    """One output of the model.

    Attributes:
        golden: what the file says.
        kind: of the output.
        step: of the codes that it is made of; None where it is made of floats.
        spread: what was measured.
        tolerance: what follows from it.
    """

    golden: Golden
    kind: OutputKind
    step: float | None
    spread: Spread
    tolerance: Tolerance


@dataclass(frozen=True)
class PortableRun:
    """All values of a kit.

    Attributes:
        input: the golden inputs.
        outputs: the model's outputs.
    """

    input: Golden
    outputs: tuple[GoldenOutput, ...]


def portable_run(path: Path, model: onnx.ModelProto, inputs: Sequence[NDArray[Any]], folder: Path) -> PortableRun:
    """Compute golden outputs and measure their tolerances.

    Args:
        path: the exported file.
        model: the same, read.
        inputs: the golden inputs, each as the graph takes it, batch axis included.
        folder: for files that are needed in between.

    Raises:
        MptqError: there are no inputs, they have several shapes, onnxruntime cannot run them, or an output is no
            number.
    """
    if not inputs or len({array.shape for array in inputs}) != 1:
        raise MptqError(f"a kit of {path} needs at least one input, all of one shape; give it images")
    written = _as_written(path)
    spec = graph_input(written)
    given = Given.by(metadata_of(model), written).outputs
    names = [each.name for each in given]

    def run(session: ort.InferenceSession) -> Outputs:
        return [run_session(session, names, {spec.name: spec.convert(array)}) for array in inputs]

    golden = run(written)
    if not all(np.isfinite(values).all() for found in golden for values in found.values()):
        raise MptqError(f"no kit of {path}: an output holds values that are no numbers; run mptq-eval on it")
    default = run(open_session(path))
    shaken = []
    for seed in SEEDS:
        other = folder / f"nudged-{seed}.onnx"
        onnx.save(nudged(model, seed), other)
        shaken.append(run(_as_written(other)))
    outputs = []
    for each in given:
        spread = Spread(_largest(each, golden, default), largest(_largest(each, golden, found) for found in shaken))
        step = step_of(model, each.name)
        values = Golden(each.name, tuple(found[each.name] for found in golden))
        outputs.append(GoldenOutput(values, each.kind, step, spread, tolerance(spread, step)))
    return PortableRun(Golden(spec.name, tuple(inputs)), tuple(outputs))


def _largest(output: Output, golden: Outputs, found: Outputs) -> Apart:
    pairs = zip(golden, found, strict=True)
    return largest(apart(output.kind, one[output.name], other[output.name]) for one, other in pairs)


def _as_written(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(path, options)
