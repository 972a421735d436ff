"""What a person needs to hear of a file of few bits: its true bytes, where it is far from float, what may help."""

from mptq_export.allocate.budget import Budget
from mptq_export.recipe.schema import WIDTHS, Recipe
from mptq_export.recipe.settings import Settings
from mptq_export.report.layer_errors import error_rows
from mptq_export.report.result import ExportResult
from mptq_export.report.stored_weights import StoredWeights

#: From so many bits on a file is near its float model with `best` alone.
_ENOUGH = 4

_FARTHEST = 3

#: Calibration images that are advised at most, and at least as a multiple of those that were taken.
_MANY, _MORE = 512, 1.25


def few_bits_rows(result: ExportResult) -> dict[str, str]:
    """Facts with their labels; none where every operand of a matmul has eight bits, and every weight four or more.

    Args:
        result: an export.
    """
    rows, evidence = {}, result.evidence
    few = _few(result.recipe)
    if few and result.recipe.settings.form == "exact":
        rows["stored"] = _stored(result)
    if few and evidence is not None and evidence.errors:
        worst = ", ".join(f"{row.name} {row.decibels:.1f} dB" for row in error_rows(evidence)[:_FARTHEST])
        rows["farthest"] = f"{worst} (signal to noise on {evidence.observed_images} images; the report has all layers)"
    if result.replayed is None:
        advice = [*_wider_activations(result.recipe.settings), *(_untried(result) if few else ())]
        if advice:
            rows["more"] = "; ".join(advice)
    return rows


def _few(recipe: Recipe) -> bool:
    widths = [quant.bits for quant in recipe.weights.values()]
    return min(widths + [quant.bits for quant in recipe.activations.values()]) < _ENOUGH


def _stored(result: ExportResult) -> str:
    """Where the bytes of the file are."""
    found = StoredWeights.of(result.recipe)
    return f"{found}; all else {(result.onnx_bytes - found.nbytes) / 1e6:.2f} MB"


def _wider_activations(settings: Settings) -> list[str]:
    """Where onnxruntime gives them for nothing: it computes with bytes, and stores no activation."""
    if settings.form != "exact":
        return []
    search = settings.search
    if search is None:
        asked, option, widest = settings.bits.partition(",")[0], "--bits", WIDTHS[-1]
    else:
        asked, option, widest = search.budget, "--mixed", search.range[1]
    budget = Budget.parse(asked)
    if widest < WIDTHS[-1] or budget.most_activations in (None, widest):
        return []
    return [f"activations of {widest} bits cost no bytes and no time in onnxruntime: {option} {budget.most:g}/{widest}"]


def _untried(result: ExportResult) -> list[str]:
    """What was not tried."""
    settings = result.recipe.settings
    untried = {
        "--method best repairs weights with the calibration images": settings.method != "best",
        "--mixed gives bits to the layers that need them": settings.search is None,
        "--reconstruct learns the rounding, on a GPU in minutes": not settings.reconstruct,
    }
    return [*(advice for advice, fits in untried.items() if fits), *_more_images(result)]


def _more_images(result: ExportResult) -> list[str]:
    """Where there are more images than were taken, and repairing weights would make something of them."""
    settings, there = result.recipe.settings, result.available or 0
    taken, many = settings.calibration.images, min(there, _MANY)
    if settings.method != "best" or many - settings.calibration.skipped < _MORE * taken:
        return []
    return [f"--count {many} calibrates on more of the {there:,} images, {taken} so far, which may pay at so few bits"]
