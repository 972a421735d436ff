"""Decisions in a few words, for the report and for the ONNX file's doc strings."""

from mptq_export.recipe.opt_m_levels import level_regions
from mptq_export.recipe.schema import ActivationQuant, SqB, WeightQuant
from mptq_export.recipe.weight_levels import outliers


def describe_weight(quant: WeightQuant) -> str:
    """Bits, form of the codes, shape, and levels and outliers of regions."""
    rows, columns = quant.codes.shape
    form = "pair-safe" if quant.form == "pair_safe" else quant.form
    return f"{quant.bits} bits, {form}, {rows} x {columns}" + describe_weight_regions(quant)


def describe_weight_regions(quant: WeightQuant) -> str:
    """Levels and outliers of weights, from the comma on; nothing where every whole number is a code."""
    if quant.regions is None:
        return ""
    count = int(outliers(quant).sum())
    beyond = f", {count} outliers on a step of {1 << quant.regions.shift}" if count else ""
    return f", levels {' '.join(map(str, quant.regions.levels))}{beyond}"


def describe_activation(quant: ActivationQuant) -> str:
    """Bits, range, levels."""
    low, high = ((code - quant.zero_point) * quant.scale for code in (quant.low, quant.high))
    levels = describe_regions(quant) if quant.regions else f"step {quant.scale:.4g}"
    return f"{quant.bits} bits, {low:.4g} to {high:.4g}, {levels}"


def describe_regions(quant: ActivationQuant) -> str:
    """The regions of an OPT-m quantizer: how many levels of which step."""
    regions = level_regions(quant)
    steps = ", ".join(f"{_levels(len(region.levels))} of step {region.step}" for region in regions)
    return f"{steps} (in steps of {quant.scale:.4g})"


def describe_sq_b(sq_b: SqB) -> str:
    """Whether SQ-b is on."""
    return f"SQ-b, strength {sq_b.strength:g}" if sq_b.strength else "no SQ-b"


def _levels(count: int) -> str:
    return f"{count} level" + ("s" if count != 1 else "")
