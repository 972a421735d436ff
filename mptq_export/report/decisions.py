"""Every decision of an export with its reason: those of the whole file, then layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from mptq_export.recipe.describe import describe_activation, describe_regions, describe_smoothing, describe_weight
from mptq_export.recipe.schema import Recipe
from mptq_export.report.charts import levels_chart, ranges_chart
from mptq_export.report.evidence import Evidence, LayerError
from mptq_export.report.network import block_of

#: Name of the part with all layers that are in no block.
OUTSIDE = "outside the blocks"

_METHODS = {
    "best": "every quantizer by the error of its layer, weights repaired with the calibration inputs",
    "paper": "MPTQ-ViT as published: SQ-b and OPT-m, all else min/max",
}
_STORAGE = {"packed": "codes below 8 bits at their own width", "int8": "a byte for every code"}
_INPUT = {"float32": "normalised NCHW", "uint8": "raw NHWC pixels"}


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        what: what was decided.
        choice: how.
        reason: why.
    """

    what: str
    choice: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """A plot with its name."""

    title: str
    plot: Markup


@dataclass
class Part:
    """All decisions of one block.

    Attributes:
        name: of the block.
        decisions: in the order of the network.
        pictures: what SQ-b did, what OPT-m chose.
        grids: values of the residual by the exponent of their grid.
        worst: layer with the smallest SQNR, with its error; None where none was measured.
    """

    name: str
    decisions: list[Decision] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    grids: dict[int, list[str]] = field(default_factory=dict)
    worst: tuple[str, LayerError] | None = None


def global_decisions(recipe: Recipe) -> list[Decision]:
    """What holds for the whole file."""
    settings = recipe.settings
    found = [
        Decision("architecture", _text(recipe.model, "arch"), _text(recipe.model, "arch_source")),
        Decision("bits", settings["bits"], "by the search" if "search" in settings else "as asked for"),
        Decision("method", settings["method"], _METHODS.get(settings["method"], "")),
        Decision("calibration", settings["calibration"], "ranges, errors and corrections come from these inputs"),
        Decision("input", settings["input"], _INPUT.get(settings["input"], "")),
    ]
    if isinstance(settings.get("weight_storage"), str):
        storage = settings["weight_storage"]
        found.append(Decision("weight storage", storage, _STORAGE.get(storage, "")))
    if settings.get("reconstruct") is True:
        found.append(Decision("reconstruction", "on", "weight codes learned block by block after all else"))
    pins = settings.get("pins")
    if isinstance(pins, dict):
        found += [Decision(f"pin {pattern}", str(widths), "asked for with --pin") for pattern, widths in pins.items()]
    return found + _search_decisions(settings.get("search"))


def read_decisions(evidence: Evidence | None) -> list[Decision]:
    """What was read of the checkpoint: known right after the export alone."""
    if evidence is None:
        return []
    return [
        Decision("weights", evidence.weights, "averages come first, as in timm"),
        Decision("image", evidence.input, "options first, then the checkpoint, then the architecture's configuration"),
    ]


def _search_decisions(search: Any) -> list[Decision]:
    if not isinstance(search, dict):
        return []
    divergences = search.get("divergence")
    compared = ""
    if isinstance(divergences, dict):
        listed = (f"{name} {value:.5f}" for name, value in divergences.items() if isinstance(value, float))
        compared = f"divergence on the search images: {', '.join(listed)}"
    return [
        Decision("widths", f"searched under {_text(search, 'budget')}", f"{_text(search, 'solver')} won; {compared}"),
        Decision(
            "search", f"{_text(search, 'evaluations')} measurements", "of the true divergence, on calibration images"
        ),
    ]


def parts_of(recipe: Recipe, evidence: Evidence | None) -> list[Part]:
    """All blocks with their decisions and pictures."""
    parts: dict[str, Part] = {}
    alone = _alone(recipe.settings.get("search"))

    def part(name: str) -> Part:
        block = block_of(name)
        block = OUTSIDE if block == name else block
        return parts.setdefault(block, Part(block))

    for key, quant in recipe.activations.items():
        layer = key.rpartition(".")[0]
        place = part(layer)
        if layer in recipe.weights and key.endswith(".input"):
            weight = recipe.weights[layer]
            reason = _joined(weight.reason, _cost(alone, layer, "weights", "both"))
            place.decisions.append(Decision(f"{layer} weights", describe_weight(weight), reason))
        reason = _joined(quant.reason, _cost(alone, layer, "activations"))
        place.decisions.append(Decision(key, describe_activation(quant), reason))
        if evidence is not None and quant.regions and key in evidence.histograms:
            plot = levels_chart(evidence.histograms[key], quant)
            place.pictures.append(Picture(f"OPT-m at {key}: {describe_regions(quant)}", plot))
    for name, smoothing in reversed(recipe.smoothing.items()):
        place = part(name)
        place.decisions.insert(0, Decision(name, describe_smoothing(smoothing), smoothing.reason))
        if evidence is not None and name in evidence.norms and smoothing.strength:
            place.pictures.insert(0, Picture(f"SQ-b at {name}", ranges_chart(evidence.norms[name])))
    for name, exponent in recipe.exponents.items():
        part(name).grids.setdefault(exponent, []).append(name)
    for name, error in (evidence.errors if evidence else {}).items():
        place = part(name)
        if error.kind == "layer" and (place.worst is None or error.sqnr_db < place.worst[1].sqnr_db):
            place.worst = (name, error)
    for place in parts.values():
        for exponent, names in place.grids.items():
            reason = "the finest grid on which calibrated values have 15 bits and a sign: sums are exact"
            place.decisions.append(Decision(f"residual: {', '.join(names)}", f"multiples of 2^{-exponent}", reason))
    return list(parts.values())


def _alone(search: Any) -> Mapping[str, float]:
    """What the width of every unit costs by itself, as the search estimated it."""
    found = search.get("estimated_divergence_alone") if isinstance(search, dict) else None
    return {k: v for k, v in found.items() if isinstance(v, float)} if isinstance(found, dict) else {}


def _cost(alone: Mapping[str, float], layer: str, *units: str) -> str:
    found = next((alone[f"{layer}:{unit}"] for unit in units if f"{layer}:{unit}" in alone), None)
    return "" if found is None else f"this width alone costs an estimated divergence of {found:.2g}"


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(values.get(key, "unknown"))
