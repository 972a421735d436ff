"""Golden values: what `kernels_ref` computes for a file, equal to onnxruntime's on this machine or refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.kit.probes import Probe
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.difference import difference
from mptq_export.verify.kernels.plan import read_kernel_plan
from mptq_export.verify.reference import open_reference


@dataclass(frozen=True)
class Golden:
    """One tensor of the kit.

    Attributes:
        name: its name in the graph.
        values: one array for every golden input, all of one shape and type.
    """

    name: str
    values: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class GoldenRun:
    """All values of a kit.

    Attributes:
        input: the golden inputs.
        outputs: the model's own outputs.
        probes: the inner tensors, in graph order.
    """

    input: Golden
    outputs: tuple[Golden, ...]
    probes: tuple[tuple[Probe, Golden], ...]


def golden_run(model: Path, probed: Path, probes: Sequence[Probe], inputs: Sequence[NDArray[Any]]) -> GoldenRun:
    """Compute the golden values.

    Args:
        model: the exported file.
        probed: the same file with the probes as further outputs.
        probes: the inner tensors.
        inputs: the golden inputs, each as the graph takes it, batch axis included.

    Raises:
        MptqError: there are no inputs, they have several shapes, one of the two cannot run them, or onnxruntime's
            values differ from the reference's: such a kit would fail everywhere, or prove nothing.
    """
    if not inputs or len({array.shape for array in inputs}) != 1:
        raise MptqError(f"a kit of {model} needs at least one input, all of one shape; give it images")
    session, probed_session = open_session(model), open_session(probed)
    spec = graph_input(session)
    floating = read_kernel_plan(probed).floating
    if floating:
        raise MptqError(
            f"no kit of {model}: with its inner tensors as outputs, {len(floating)} matmuls run in float "
            f"(first {floating[0].name}); this is a defect, please report the model"
        )
    reference = open_reference(probed)
    outputs = [entry.name for entry in session.get_outputs()]
    names = [*outputs, *(probe.name for probe in probes)]
    runs = []
    for array in inputs:
        feed = {spec.name: spec.convert(array)}
        plain = run_session(session, outputs, feed)
        expected = reference(feed)
        _same(plain, expected, model)
        _same(run_session(probed_session, names, feed), expected, model)
        runs.append(expected)
    golden = {name: Golden(name, tuple(np.asarray(run[name]) for run in runs)) for name in names}
    return GoldenRun(
        Golden(spec.name, tuple(inputs)),
        tuple(golden[name] for name in outputs),
        tuple((probe, golden[probe.name]) for probe in probes),
    )


def _same(got: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]], model: Path) -> None:
    for name, values in got.items():
        found = difference(values, expected[name])
        if found.differing:
            raise MptqError(
                f"no kit of {model}: {name} differs between onnxruntime and kernels_ref in {found.differing} of "
                f"{found.values} values; run mptq-verify {model}"
            )
