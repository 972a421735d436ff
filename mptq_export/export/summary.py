"""What a person reads after an export."""

from collections import Counter
from typing import Any

from rich.console import Console

from mptq_export.data.classes import FOLDERS
from mptq_export.load.inputs import input_text, values_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.schema import Claim
from mptq_export.recipe.settings import NamedClasses
from mptq_export.report.paths import report_path
from mptq_export.report.result import ExportResult
from mptq_export.verify.inputs.sets import describe_inputs
from mptq_export.verify.report import VerifyReport


def summary_json(result: ExportResult) -> dict[str, Any]:
    """The summary as plain data."""
    plan, settings = result.report.plan, result.recipe.settings
    return {
        "output": str(result.onnx),
        "arch": result.loaded.arch,
        "arch_source": result.loaded.arch_source,
        "weights": result.loaded.weights,
        "input": input_json(result.loaded),
        "features": list(result.loaded.maps),
        "kit": None if result.kit is None else str(result.kit),
        "report": str(report_path(result.onnx)),
        "recipe": None if result.replayed is None else str(result.replayed),
        "calibration": settings.calibration.description,
        "calibration_skipped": settings.calibration.skipped,
        "classes": _classes(settings.classes),
        "method": settings.method,
        "reconstruct": settings.reconstruct,
        "bits": settings.bits,
        "layers": len(result.recipe.weights),
        "onnx_bytes": result.onnx_bytes,
        "float32_bytes": result.float_bytes,
        "load_ms": round(result.load_ms, 1),
        "min_onnxruntime": result.min_ort,
        "kernels": dict(Counter(m.op for m in plan.matmuls)),
        "float_matmuls": len(plan.floating),
        "claims": len(result.recipe.proof),
        "smallest_margin": _smallest_margin(result.recipe.proof),
        "warnings": list(result.warnings),
        "notes": list(result.loaded.notes),
        "compared_values": result.report.values,
        "checked_inputs": result.report.inputs,
        "checked_batches": sorted(result.report.batches),
        "check_seconds": round(result.report.seconds, 1),
        "differing_values": result.report.differing,
    }


def show_summary(result: ExportResult, console: Console) -> None:
    """Print the summary, one fact a line."""
    data = summary_json(result)
    kernels = ", ".join(f"{count} {op}" for op, count in sorted(data["kernels"].items()))
    ratio = data["onnx_bytes"] / data["float32_bytes"]
    maps = [f"{each.name} ({each.channels} channels, 1/{each.reduction})" for each in result.loaded.features]
    rows = {
        "model": f"{data['arch']} ({data['arch_source']})",
        "weights": data["weights"],
        "input": input_text(result.loaded.preprocessing, result.loaded.input_sources),
        **({"maps": ", ".join(maps)} if maps else {}),
        "calibration": data["calibration"] + (f", replayed from {data['recipe']}" if data["recipe"] else ""),
        **({"classes": data["classes"]} if data["classes"] else {}),
        "method": data["method"] + (", then learned block by block" if data["reconstruct"] else ""),
        "bits": f"{data['bits']} (weights/activations) in {data['layers']} layers; scores, GELU inputs and pixels 8, "
        "residual 16",
        "size": f"{data['onnx_bytes'] / 1e6:.2f} MB, {ratio:.3f} of the float32 weights",
        "load": f"{data['load_ms']:.0f} ms until onnxruntime has a session",
        "needs": f"onnxruntime {data['min_onnxruntime']} or newer",
        "kernels": f"{kernels}; {data['float_matmuls']} matmuls in float",
        "proved": f"{data['claims']} bounds and margins, the smallest margin {data['smallest_margin']:.2g} of a step",
        "checked": f"{data['differing_values']} of {data['compared_values']:,} values differ between onnxruntime and "
        f"kernels_ref ({_checked(result.report)})",
        "written": f"{data['output']}, and its .recipe.json and .recipe.safetensors",
        "report": data["report"],
    }
    if data["kit"]:
        rows["kit"] = f"{data['kit']}: copy it to the device and run one of its runners (see its README.md)"
    for label, text in [*rows.items(), *(("note", note) for note in data["notes"])]:
        console.print(f"{label:<12} {text}", markup=False)


def _classes(classes: NamedClasses | None) -> str | None:
    """How the file's class names were found; None where it has none."""
    if classes is None:
        return None
    order = " in timm's order" if classes.origin == FOLDERS else ""
    return f"{len(classes.names)}, named by the {classes.origin}{order}"


def _checked(report: VerifyReport) -> str:
    """What was run, and that not all tensors were compared at batch 3, where they were not."""
    text = f"{describe_inputs(report.inputs, report.batches)}, {report.seconds:.1f} s"
    return text + ("; by three the outputs alone: all tensors need too much memory" if report.outputs_only else "")


def input_json(loaded: LoadedModel) -> dict[str, dict[str, Any]]:
    """Every part of the input with who said it."""
    values = values_of(loaded.preprocessing)
    return {part: {"value": value, "from": loaded.input_sources.get(part)} for part, value in values.items()}


def _smallest_margin(claims: list[Claim]) -> float:
    return min((claim.value for claim in claims if "margin" in claim.what), default=0.5)
