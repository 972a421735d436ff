"""Right after an export, while model and images are at hand: measure what its report needs, write OUT.report.json."""

import platform
from importlib.metadata import version
from pathlib import Path

from mptq_export.allocate.costs import Costs
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.data.probe import probe_inputs
from mptq_export.quantize.form import Simulation
from mptq_export.report.deployed import (
    BATCH,
    Compared,
    FloatOutputs,
    agreement_images,
    compare_with_float,
    measure_latency,
)
from mptq_export.report.evidence import VERSION, Check, Evidence, read_evidence
from mptq_export.report.float_weights import float_weights
from mptq_export.report.observe import Observed, observe, observed_images
from mptq_export.report.paths import evidence_path, onnx_path_of
from mptq_export.report.result import ExportResult
from mptq_export.report.trace import lineage_of
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.json_files import write_json
from mptq_export.support.progress import Progress, undivided
from mptq_export.support.version import __version__
from mptq_export.verify.report import VerifyReport


def write_evidence(
    result: ExportResult,
    built: tuple[Graph, Simulation],
    calibrated: Calibrated | None,
    floating: FloatOutputs,
    progress: Progress,
    *,
    traced: bool = False,
) -> Evidence:
    """Measure and write.

    Args:
        result: the export.
        built: prepared graph with the recipe's transforms, on the CPU, and the quantized model of the file's form.
        calibrated: what it was calibrated on; None for an export from a recipe.
        floating: what the float model gives for the images that files are compared with it on.
        progress: hears how far it is.
        traced: also follow every trained tensor to its codes, for a dossier.

    Returns:
        What was written.

    Raises:
        MptqError: the file cannot be written.
    """
    graph, simulator = built
    macs = Costs.of(graph).macs
    digest, check = sha256_of(result.onnx), result.verification
    before = None if calibrated is not None else _evidence_before(result.replayed, digest)
    if calibrated is None:
        observed, compared = _measured_before(before)
    else:
        observed = observe(graph, result.recipe, simulator, observed_images(calibrated.images), progress)
        images = agreement_images(calibrated.source, sum(macs.values()))
        large = isinstance(check, VerifyReport) and check.outputs_only > 0
        compared = compare_with_float(
            result.onnx, floating, images, result.loaded.preprocessing, progress, batch=1 if large else BATCH
        )
    with undivided(progress, "timing"):
        image = probe_inputs(result.loaded.preprocessing, 1)
        latency = measure_latency(result.onnx, result.float_onnx, floating.file, image)
    lineage = None if before is None else before.lineage
    if traced:
        with undivided(progress, "following the tensors"):
            lineage = lineage_of(result.loaded, (graph, result.recipe), calibrated, lineage)
    evidence = Evidence(
        version=VERSION,
        onnx_sha256=digest,
        command=result.command,
        model_options=result.loaded.asked.words(),
        versions=measuring_versions(),
        float_bytes=result.float_bytes,
        macs=macs,
        observed_images=observed.images,
        errors=observed.errors,
        norms=observed.norms,
        histograms=observed.histograms,
        check=check_of(check) if isinstance(check, VerifyReport) else None,
        portable=None if isinstance(check, VerifyReport) else check,
        kernels=check.plan.matmuls if isinstance(check, VerifyReport) else (),
        op_counts=check.plan.op_counts if isinstance(check, VerifyReport) else {},
        agreement=compared.agreement,
        outputs=compared.outputs,
        latency=latency,
        weights=result.loaded.weights,
        input=result.loaded.input_text,
        warnings=result.warnings,
        notes=result.loaded.notes,
        lineage=lineage,
        weight_steps=float_weights(graph, result.recipe),
    )
    write_json(evidence_path(result.onnx), evidence)
    return evidence


def check_of(verification: VerifyReport) -> Check:
    """What the report shows of a verification."""
    return Check(
        values=verification.values,
        differing=verification.differing,
        tensors=verification.count("compared"),
        inputs=verification.inputs,
        batches=tuple(sorted(verification.batches)),
        outputs_only=verification.outputs_only,
    )


def _evidence_before(replayed: Path | None, digest: str) -> Evidence | None:
    """What the export that wrote a recipe measured, if this one gave the same file; else None."""
    try:
        before = read_evidence(evidence_path(onnx_path_of(replayed))) if replayed else None
    except MptqError:
        return None
    return before if before is not None and before.onnx_sha256 == digest else None


def _measured_before(before: Evidence | None) -> tuple[Observed, Compared]:
    """What was measured with images when there were some."""
    if before is None:
        return Observed(), Compared()
    observed = Observed(before.observed_images, before.errors, before.norms, before.histograms)
    return observed, Compared(before.agreement, before.outputs)


def measuring_versions() -> dict[str, str]:
    """What measures: Python, the machine, and the libraries that decide bits."""
    libraries = ("onnxruntime", "onnx", "numpy", "torch", "timm")
    return {
        "mptq-export": __version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "system": f"{platform.system()} {platform.machine()}",
    }
