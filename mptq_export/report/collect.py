"""Right after an export, while model and images are at hand: measure what its report needs, write OUT.report.json."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mptq_export import __version__
from mptq_export.data.reading import Reading
from mptq_export.load.inputs import input_text
from mptq_export.report.evidence import VERSION, Agreement, Check, Evidence, read_evidence
from mptq_export.report.observe import Observed, observe, observed_images
from mptq_export.report.paths import evidence_path, onnx_path_of
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.json_files import write_json
from mptq_export.support.progress import Track

if TYPE_CHECKING:
    from mptq_export.capture.graph import Graph
    from mptq_export.load.model import LoadedModel
    from mptq_export.recipe.schema import Recipe
    from mptq_export.verify.report import VerifyReport


@dataclass(frozen=True)
class Written:
    """An export that was just written.

    Attributes:
        onnx: the file.
        loaded: the float model.
        graph: prepared graph with the recipe's transforms, on the CPU.
        recipe: all decisions.
        verified: onnxruntime against `kernels_ref`.
        float_bytes: size of the weights in float32.
        load_ms: time that onnxruntime needed to make a session.
        float_onnx: the float model as ONNX, where it was written.
        command: a command line that does the same again.
        replayed: the recipe that it was made from; None where it was calibrated.
        warnings: what the user must see, a sentence each.
        calib: folder or file that it was calibrated on; None for synthetic images.
        count: at most so many inputs of it.
        reading: how it was taken.
    """

    onnx: Path
    loaded: "LoadedModel"
    graph: "Graph"
    recipe: "Recipe"
    verified: "VerifyReport"
    float_bytes: int
    load_ms: float
    float_onnx: Path | None
    command: str
    replayed: Path | None
    warnings: tuple[str, ...]
    calib: Path | None
    count: int
    reading: Reading


def write_evidence(written: Written, images: torch.Tensor | None, track: Track) -> None:
    """Measure and write.

    Args:
        written: the export.
        images: float32 calibration inputs; None where there are none (an export from a recipe).
        track: wraps an iterable with a progress bar: (items, label, total).

    Raises:
        MptqError: the file cannot be written.
    """
    from mptq_export.allocate.costs import Costs
    from mptq_export.report.deployed import agreement_images, measure_agreement, measure_latency

    macs = Costs.of(written.graph).macs
    digest = sha256_of(written.onnx)
    if images is None:
        observed, agreement = _measured_before(written.replayed, digest)
    else:
        observed = observe(written.graph, written.recipe, observed_images(images), track)
        model, preprocessing = written.loaded.model, written.loaded.preprocessing
        chosen = agreement_images(written.calib, preprocessing, sum(macs.values()), written.count, written.reading)
        agreement = measure_agreement(written.onnx, model, chosen, preprocessing, track)
    report, plan = written.verified, written.verified.plan
    evidence = Evidence(
        version=VERSION,
        onnx_sha256=digest,
        command=written.command,
        versions=measuring_versions(),
        float_bytes=written.float_bytes,
        macs=macs,
        observed_images=observed.images,
        errors=observed.errors,
        norms=observed.norms,
        histograms=observed.histograms,
        check=check_of(report),
        kernels=plan.matmuls,
        op_counts=plan.op_counts,
        agreement=agreement,
        latency=measure_latency(written.onnx, written.float_onnx),
        weights=written.loaded.weights,
        input=input_text(written.loaded.preprocessing, written.loaded.input_sources),
        warnings=written.warnings,
        notes=written.loaded.notes,
    )
    write_json(evidence_path(written.onnx), evidence)


def check_of(report: "VerifyReport") -> Check:
    """What a report keeps of a verification."""
    return Check(
        report.values,
        report.differing,
        report.count("compared"),
        report.inputs,
        tuple(sorted(report.batches)),
        report.outputs_only,
    )


def _measured_before(replayed: Path | None, digest: str) -> tuple[Observed, Agreement | None]:
    """What the export that wrote a recipe measured with its images, if this one gave the same file; else nothing."""
    try:
        before = read_evidence(evidence_path(onnx_path_of(replayed))) if replayed else None
    except MptqError:
        before = None
    if before is None or before.onnx_sha256 != digest:
        return Observed(), None
    return Observed(before.observed_images, before.errors, before.norms, before.histograms), before.agreement


def measuring_versions() -> dict[str, str]:
    """What measures: Python, the machine, and the libraries that decide bits."""
    libraries = ("onnxruntime", "onnx", "numpy", "torch", "timm")
    return {
        "mptq-export": __version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "system": f"{platform.system()} {platform.machine()}",
    }
