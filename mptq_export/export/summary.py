"""What a person reads after an export."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from mptq_export.data.classes import FOLDERS
from mptq_export.emit.exact.proof import Quantity
from mptq_export.export.few_bits import few_bits_rows
from mptq_export.export.last_lines import closeness_row, end_rows
from mptq_export.export.one_file import FLOAT
from mptq_export.load.inputs import values_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.detector import Part
from mptq_export.recipe.outputs import LOGITS, Output
from mptq_export.recipe.schema import Claim
from mptq_export.recipe.settings import Form, NamedClasses
from mptq_export.report.form_decisions import residual_words
from mptq_export.report.paths import report_path
from mptq_export.report.profiled import Profiled
from mptq_export.report.promise import runnable
from mptq_export.report.result import ExportResult
from mptq_export.support.json_files import Json
from mptq_export.support.time_left import TimeLeft
from mptq_export.verify.inputs.sets import InputKind, describe_inputs
from mptq_export.verify.portable import PortableCheck
from mptq_export.verify.report import VerifyReport


@dataclass(frozen=True)
class Summary:
    """The facts of an export, as `--json` holds them.

    Attributes:
        output: the ONNX file.
        arch: timm architecture.
        arch_source: who said so.
        weights: which of the checkpoint's weights were taken.
        input: every part of the input with its `value` and who said it (`from`).
        features: names of the feature maps among them; empty where there are none.
        outputs: what the file gives, in order: the `name` and the `kind` of each.
        kit: the verification kit.
        dossier: the dossier.
        report: the report's page.
        recipe: the recipe that was replayed.
        calibration: what it was calibrated on.
        calibration_skipped: images that could not be read.
        classes: how the class names were found; None where there are none.
        method: which techniques were used.
        reconstruct: whether weight codes were learned afterwards.
        bits: the widths in a few words.
        layers: how many have weights.
        onnx_bytes: size of the ONNX file.
        float32_bytes: size of the weights in float32.
        load_ms: time that onnxruntime needs to make a session.
        min_onnxruntime: the oldest that opens the file.
        kernels: how many matmuls run as each op.
        float_matmuls: how many run in float.
        claims: bounds and margins that were proved.
        smallest_margin: of those, in steps.
        warnings: what the user must see, a sentence each.
        notes: what was inferred from the checkpoint, a sentence each.
        compared_values: between onnxruntime and `kernels_ref`; of a portable file, and the simulation.
        checked_inputs: how many of each kind.
        checked_batches: sizes of the batches.
        check_seconds: that it took.
        differing_values: 0, or there would be no file; of a portable file, codes on a boundary differ.
        form: `exact` or `portable`.
        target: the runtime that it is for; None where none was asked for.
        residual_bits: width of the residual; 32 where it is a float.
        simulation_db: signal to noise of a portable file against the simulation; None for an exact one, or where all
            is equal.
        detector: which part of a detector the file is; None where it is of none.
        heads: of a detector of two stages, the same of the files of its heads.
        one_file: a detector as one file, float between its networks; None where it was not asked for.
        profile: what a file of a profile obeys: its name, the batch, how many rules, the places of each exception, and
            its values against the plain file's; None of a plain file.
    """

    output: str
    arch: str
    arch_source: str
    weights: str
    input: dict[str, dict[str, Json]]
    features: tuple[str, ...]
    outputs: tuple[Output, ...]
    kit: str | None
    dossier: str | None
    report: str
    recipe: str | None
    calibration: str
    calibration_skipped: int
    classes: str | None
    method: str
    reconstruct: bool
    bits: str
    layers: int
    onnx_bytes: int
    float32_bytes: int
    load_ms: float
    min_onnxruntime: str | None
    kernels: dict[str, int]
    float_matmuls: int
    claims: int
    smallest_margin: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    compared_values: int
    checked_inputs: dict[InputKind, int]
    checked_batches: tuple[int, ...]
    check_seconds: float
    differing_values: int
    form: Form
    target: str | None
    residual_bits: int
    simulation_db: float | None
    detector: Part | None
    heads: "tuple[Summary, ...]"
    one_file: str | None
    profile: dict[str, Json] | None


_PARTS: dict[str | None, str] = {
    "proposals": ", its backbone, pyramid and proposals",
    "box": ", its box head",
    "mask": ", its mask head",
}


def summary_of(result: ExportResult) -> Summary:
    """The facts of an export."""
    loaded, recipe, check = result.loaded, result.recipe, result.verification
    settings = recipe.settings
    return Summary(
        output=str(result.onnx),
        arch=loaded.arch,
        arch_source=loaded.arch_source,
        weights=loaded.weights,
        input=_input(loaded),
        features=tuple(each.name for each in loaded.features),
        outputs=loaded.outputs,
        kit=None if result.kit is None else str(result.kit),
        dossier=None if result.dossier is None else str(result.dossier),
        report=str(report_path(result.onnx)),
        recipe=None if result.replayed is None else str(result.replayed),
        calibration=settings.calibration.description,
        calibration_skipped=settings.calibration.skipped,
        classes=_classes(settings.classes),
        method=settings.method,
        reconstruct=settings.reconstruct,
        bits=settings.bits,
        layers=len(recipe.weights),
        onnx_bytes=result.onnx_bytes,
        float32_bytes=result.float_bytes,
        load_ms=round(result.load_ms, 1),
        min_onnxruntime=result.min_ort,
        kernels=dict(Counter(matmul.op for matmul in check.plan.matmuls)) if isinstance(check, VerifyReport) else {},
        float_matmuls=len(check.plan.floating) if isinstance(check, VerifyReport) else 0,
        claims=len(recipe.proof),
        smallest_margin=_smallest_margin(recipe.proof),
        warnings=result.warnings,
        notes=loaded.notes,
        compared_values=check.values,
        checked_inputs=check.inputs if isinstance(check, VerifyReport) else {"images": check.images},
        checked_batches=tuple(sorted(check.batches)) if isinstance(check, VerifyReport) else (1,),
        check_seconds=round(check.seconds, 1),
        differing_values=check.differing,
        form=settings.form,
        target=settings.target,
        residual_bits=settings.residual_bits,
        simulation_db=_decibels(check),
        detector=None if loaded.detector is None else loaded.detector.part,
        heads=tuple(map(summary_of, result.heads)),
        one_file=None if result.one_file is None else str(result.one_file),
        profile=None if result.profiled is None else result.profiled.to_json(),
    )


def show_summary(result: ExportResult, console: Console) -> None:
    """Print the summary, one fact a line; of a detector of two stages the facts of each file."""
    _show_file(result, console)
    for head in result.heads:
        console.print()
        _show_file(head, console)
    if result.heads:
        files = ", ".join(str(each.onnx) for each in (result, *result.heads))
        console.print(f"{'detector':<12} {files}: the files of one detector, which run together", markup=False)
    if result.one_file is not None:
        console.print(f"{'one file':<12} {result.one_file}: {FLOAT}", markup=False)


def show_end(results: Sequence[ExportResult], time: TimeLeft, console: Console) -> None:
    """Print what is said once, after the summaries of all files.

    Args:
        results: the files.
        time: of the command.
        console: where.
    """
    for label, text in end_rows(results, time).items():
        console.print(f"{label:<12} {text}", markup=False)


def _show_file(result: ExportResult, console: Console) -> None:
    facts = summary_of(result)
    ratio = facts.onnx_bytes / facts.float32_bytes
    maps = [f"{each.name} ({each.channels} channels, 1/{each.reduction})" for each in result.loaded.features]
    others = () if maps or result.loaded.outputs == LOGITS else result.loaded.outputs
    outputs = [each.name if each.name == each.kind else f"{each.name} ({each.kind})" for each in others]
    rows = {
        "model": f"{facts.arch} ({facts.arch_source})" + _PARTS.get(facts.detector, ""),
        "weights": facts.weights,
        "input": result.loaded.input_text,
        **({"maps": ", ".join(maps)} if maps else {}),
        **({"outputs": ", ".join(outputs)} if outputs else {}),
        "calibration": facts.calibration + (f", replayed from {facts.recipe}" if facts.recipe else ""),
        **({"classes": facts.classes} if facts.classes else {}),
        "method": facts.method + (", then learned block by block" if facts.reconstruct else ""),
        "bits": f"{facts.bits} (weights/activations) in {facts.layers} layers; "
        + ("scores, GELU inputs and pixels 8, " if facts.form == "exact" else "")
        + residual_words(facts.residual_bits),
        "size": f"{facts.onnx_bytes / 1e6:.2f} MB, {ratio:.3f} of the float32 weights",
        "load": f"{facts.load_ms:.0f} ms until onnxruntime has a session",
        **_proved(result, facts),
        **({"profile": _profiled(result.profiled)} if result.profiled else {}),
        **closeness_row(result),
        **few_bits_rows(result),
        "written": f"{facts.output}, and its .recipe.json and .recipe.safetensors",
        "report": facts.report,
    }
    if facts.kit:
        rows["kit"] = f"{facts.kit}: copy it to the device and run one of its runners (see its README.md)"
    if facts.dossier:
        rows["dossier"] = f"{facts.dossier}: one document (dossier.html) and its evidence"
    for label, text in [*rows.items(), *(("note", note) for note in facts.notes)]:
        console.print(f"{label:<12} {text}", markup=False)


def _proved(result: ExportResult, facts: Summary) -> dict[str, str]:
    """What is known of the file: proofs of an exact one, the promise of a portable one."""
    check = result.verification
    if not isinstance(check, VerifyReport):
        apart = "" if facts.simulation_db is None else f", {facts.simulation_db} dB of signal to noise"
        return {
            "form": f"portable, for {facts.target}: no bits are promised; {_elsewhere(result)}",
            "checked": f"{facts.differing_values} of {facts.compared_values:,} values differ between onnxruntime and "
            f"the simulation{apart} ({check.images} images, {check.seconds:.1f} s)",
        }
    kernels = ", ".join(f"{count} {op}" for op, count in sorted(facts.kernels.items()))
    return {
        "needs": f"onnxruntime {facts.min_onnxruntime} or newer",
        "kernels": f"{kernels}; {facts.float_matmuls} matmuls in float",
        "proved": f"{facts.claims} bounds and margins, the smallest margin {facts.smallest_margin:.2g} of a step",
        "checked": f"{facts.differing_values} of {facts.compared_values:,} values differ between onnxruntime and "
        f"kernels_ref ({_checked(check)})",
    }


def _profiled(profiled: Profiled) -> str:
    """What a file of a profile obeys, and the plain file beside it."""
    exceptions = ", ".join(f"{name} ({places})" for name, places in profiled.exceptions.items())
    return (
        f"{profiled.name}, batch {profiled.batch}: {profiled.rules} rules, 0 broken; exceptions (nodes): "
        f"{exceptions or 'none'}; {profiled.plain.differing} of {profiled.plain.values:,} values differ from the "
        "plain file's"
    )


def _elsewhere(result: ExportResult) -> str:
    """Where a portable file can be run."""
    runtime = runnable(result.recipe.settings)
    if runtime is None:
        return f"to see what a runtime gives, copy a kit to it (--kit), or: mptq-verify {result.onnx} --runtime RUNTIME"
    return f"what it gives there: mptq-verify {result.onnx} --runtime {runtime}"


def _decibels(check: VerifyReport | PortableCheck) -> float | None:
    if isinstance(check, VerifyReport) or check.sqnr_db is None:
        return None
    return round(check.sqnr_db, 1)


def _classes(classes: NamedClasses | None) -> str | None:
    """How the file's class names were found; None where it has none."""
    if classes is None:
        return None
    order = " in timm's order" if classes.origin == FOLDERS else ""
    return f"{len(classes.names)}, named by the {classes.origin}{order}"


def _checked(verification: VerifyReport) -> str:
    """What was run, and that not all tensors were compared at batch 3, where they were not."""
    text = f"{describe_inputs(verification.inputs, verification.batches)}, {verification.seconds:.1f} s"
    return text + (
        "; by three the outputs alone: all tensors need too much memory" if verification.outputs_only else ""
    )


def _input(loaded: LoadedModel) -> dict[str, dict[str, Json]]:
    """Every part of the input with who said it."""
    if loaded.takes_regions:
        return {"region": {"value": list(loaded.preprocessing.input_size), "from": "the first stage"}}
    values = values_of(loaded.preprocessing)
    return {part: {"value": value, "from": loaded.input_sources.get(part)} for part, value in values.items()}


def _smallest_margin(claims: list[Claim]) -> float:
    return min((claim.value for claim in claims if Quantity.MARGIN.is_of(claim)), default=0.5)
