"""The five figures on top: size, latency, bits, accuracy, exactness, each beside the float model."""

import re

from mptq_export.report.closeness import closeness_figure
from mptq_export.report.export_files import Export
from mptq_export.report.figure import UNKNOWN, Figure
from mptq_export.report.network import layers_of
from mptq_export.report.promise import promise_figure
from mptq_export.report.stored_weights import StoredWeights
from mptq_export.verify.inputs.sets import describe_inputs

_UNIFORM = re.compile(r"(\d)/(\d+)")


def figures_of(export: Export) -> tuple[Figure, ...]:
    """The five figures of an export."""
    return (_size(export), _latency(export), _bits(export), closeness_figure(export), _exactness(export))


def megabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e6:.2f} MB"


def _size(export: Export) -> Figure:
    stored, evidence = export.onnx_file, export.evidence
    if stored is None:
        return Figure("Size", "unknown", f"{export.name} is not there")
    if evidence is None:
        floats = sum(quant.codes.size + quant.bias.size for quant in export.recipe.own_weights.values()) * 4
        note = f"{stored.size / floats:.3f} of the quantized layers in float32"
    else:
        floats = evidence.float_bytes
        note = f"{stored.size / floats:.3f} of the float32 weights"
    note += f" ({megabytes(floats)})"
    if export.recipe.settings.form == "exact":
        note += f"; {StoredWeights.of(export.recipe)}"
    return Figure("Size", megabytes(stored.size), note)


def _latency(export: Export) -> Figure:
    latency = export.evidence.latency if export.evidence else None
    if latency is None:
        return Figure("Latency", UNKNOWN, "mptq-bench measures it beside the float model")
    runs = f"one image, {latency.threads} thread, median of {latency.rounds} runs, {latency.cpu}"
    if export.recipe.settings.form == "portable":
        runs = f"in onnxruntime, not on the target; {runs}"
    if latency.float_ms is None or latency.ratio is None:
        return Figure(
            "Latency",
            f"{latency.file_ms:.2f} ms",
            f"float not timed: {latency.why_no_float or 'there was no file of it'}; {runs}",
        )
    return Figure(
        "Latency",
        f"{latency.file_ms:.2f} ms",
        f"{latency.ratio:.2f} of float32 ({latency.float_ms:.2f} ms, in onnxruntime too) in turn; {runs}",
    )


def mean_weight_bits(export: Export) -> float:
    """Mean width of the weights, by parameters."""
    weights = export.recipe.own_weights.values()
    return sum(quant.bits * quant.codes.size for quant in weights) / max(sum(q.codes.size for q in weights), 1)


def mean_activation_bits(export: Export) -> float | None:
    """Mean width of the matmuls' operands, by multiply-accumulates; None where it is not known."""
    macs = export.evidence.macs if export.evidence else {}
    widths = layers_of(export.recipe, macs)
    known = [(count, max(widths[layer])) for layer, count in macs.items() if layer in widths]
    total = sum(count for count, _ in known)
    if total:
        return sum(count * bits for count, bits in known) / total
    settings = export.recipe.settings
    if settings.search is not None:
        return settings.search.mean_bits[1]
    uniform = _UNIFORM.fullmatch(settings.bits)
    return float(uniform[2]) if uniform else None


def _bits(export: Export) -> Figure:
    activations = mean_activation_bits(export)
    read = "?" if activations is None else f"{activations:.2f}"
    note = "weights by parameters / activations by multiply-accumulates; float 32 / 32"
    if activations is None:
        note += f"; asked for: {export.recipe.settings.bits}"
    return Figure("Mean bits", f"{mean_weight_bits(export):.2f} / {read}", note)


def _exactness(export: Export) -> Figure:
    if export.recipe.settings.form == "portable":
        return promise_figure(export)
    proved = f"{len(export.recipe.proof)} bounds and margins proved"
    check = export.evidence.check if export.evidence else None
    if check is None:
        return Figure("Exactness", "proved", f"{proved}; values compared: not recorded (mptq-verify compares them)")
    inputs = describe_inputs(check.inputs, check.batches)
    if check.outputs_only:
        inputs += " (by three the outputs alone)"
    note = (
        f"of {check.values:,} values in {check.tensors} tensors, onnxruntime against kernels_ref on {inputs}; "
        f"{proved}. Float has no such promise"
    )
    return Figure("Exactness", f"{check.differing} differ", note)
