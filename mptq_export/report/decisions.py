"""Every decision of an export with its reason: those of the whole file, then layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from mptq_export.recipe.describe import describe_activation, describe_regions, describe_sq_b, describe_weight
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.settings import InputType, SearchFacts, WeightStorage
from mptq_export.report.charts import levels_chart, ranges_chart, weights_chart
from mptq_export.report.evidence import Evidence, LayerError
from mptq_export.report.form_decisions import form_decisions
from mptq_export.report.network import block_of

#: What takes the place of a block for all layers that are in none.
OUTSIDE = "outside the blocks"

_METHODS = {
    "best": "every quantizer by the error of its layer, weights repaired with the calibration inputs",
    "minmax": "min/max ranges, and weights rounded to nearest",
    "paper": "MPTQ-ViT as published: SQ-b and OPT-m, all else min/max",
}
#: Of a portable file, whose codes have no regions.
_PORTABLE_METHODS = {**_METHODS, "paper": "SQ-b of MPTQ-ViT, all else min/max; this form has no OPT-m"}
_STORAGE: dict[WeightStorage, str] = {
    "packed": "codes below 8 bits at their own width",
    "int8": "a byte for every code",
}
_INPUT: dict[InputType, str] = {"float32": "normalised NCHW", "uint8": "raw NHWC pixels"}


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
class BlockDecisions:
    """All decisions of one block.

    Attributes:
        name: of the block.
        decisions: in the order of the network.
        pictures: what SQ-b did, what OPT-m chose.
        weights: how often each code of a layer is used.
        grids: values of the residual by the exponent of their grid.
        worst: layer with the smallest SQNR, with its error; None where none was measured.
    """

    name: str
    decisions: list[Decision] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    weights: list[Picture] = field(default_factory=list)
    grids: dict[int, list[str]] = field(default_factory=dict)
    worst: tuple[str, LayerError] | None = None


def global_decisions(recipe: ExportRecipe) -> list[Decision]:
    """What holds for the whole file."""
    settings = recipe.settings
    methods = _PORTABLE_METHODS if settings.form == "portable" else _METHODS
    found = [
        Decision("architecture", recipe.model.arch, recipe.model.arch_source),
        *(Decision(*each) for each in form_decisions(recipe)),
        Decision("bits", settings.bits, "by the search" if settings.search else "as asked for"),
        Decision("method", settings.method, methods.get(settings.method, "")),
        Decision(
            "calibration",
            settings.calibration.description,
            "ranges, errors and corrections come from these inputs",
        ),
        Decision("input", settings.input_type, _INPUT[settings.input_type]),
        Decision("weight storage", settings.weight_storage, _STORAGE[settings.weight_storage]),
    ]
    if settings.profile is not None:
        found.append(
            Decision(
                "profile",
                f"{settings.profile.name}, batch {settings.profile.batch}",
                "nothing is left implicit: shapes, attributes, optional inputs, broadcasts (docs/sonnx.md)",
            )
        )
    if settings.reconstruct:
        found.append(
            Decision("reconstruction", "on", "rounding, scales and ranges learned block by block after all else")
        )
    pins = settings.pins.items()
    found += [Decision(f"pin {pattern}", widths, "asked for with --pin") for pattern, widths in pins]
    return found + (_search_decisions(settings.search) if settings.search else [])


def read_decisions(evidence: Evidence | None) -> list[Decision]:
    """What was read of the checkpoint: known right after the export alone."""
    if evidence is None:
        return []
    return [
        Decision("weights", evidence.weights, "averages come first, as in timm"),
        Decision("image", evidence.input, "options first, then the checkpoint, then the architecture's configuration"),
    ]


def _search_decisions(search: SearchFacts) -> list[Decision]:
    listed = (f"{name} {value:.5f}" for name, value in search.divergence.items() if value is not None)
    compared = f"divergence ({search.metric}) on the search images: {', '.join(listed)}"
    return [
        Decision("widths", f"searched under {search.budget}", f"{search.solver} won; {compared}"),
        Decision("search", f"{search.evaluations} measurements", "of the true divergence, on calibration images"),
    ]


def block_decisions(recipe: ExportRecipe, evidence: Evidence | None) -> list[BlockDecisions]:
    """All blocks with their decisions and pictures."""
    blocks: dict[str, BlockDecisions] = {}
    weights = dict(recipe.weights)
    search = recipe.settings.search
    alone = search.estimated_divergence_alone if search else {}

    def place_of(name: str) -> BlockDecisions:
        block = block_of(name)
        block = OUTSIDE if block == name else block
        return blocks.setdefault(block, BlockDecisions(block))

    for key, quant in recipe.activations.items():
        layer = key.rpartition(".")[0]
        place = place_of(layer)
        if layer in weights:
            weight = weights.pop(layer)
            reason = _joined(weight.reason, _cost(alone, layer, "weights", "both"))
            place.decisions.append(Decision(f"{layer} weights", describe_weight(weight), reason))
        reason = _joined(quant.reason, _cost(alone, layer, "activations"))
        place.decisions.append(Decision(key, describe_activation(quant), reason))
        if evidence is not None and quant.regions and key in evidence.histograms:
            plot = levels_chart(evidence.histograms[key], quant)
            place.pictures.append(Picture(f"OPT-m at {key}: {describe_regions(quant)}", plot))
    steps = evidence.weight_steps if evidence else {}
    for name, weight in recipe.own_weights.items():
        plot = weights_chart(weight.codes, weight.bits, steps.get(name))
        place_of(name).weights.append(Picture(name, plot))
    for name, sq_b in reversed(recipe.sq_b.items()):
        place = place_of(name)
        place.decisions.insert(0, Decision(name, describe_sq_b(sq_b), sq_b.reason))
        if evidence is not None and name in evidence.norms and sq_b.strength:
            place.pictures.insert(0, Picture(f"SQ-b at {name}", ranges_chart(evidence.norms[name])))
    for name, exponent in recipe.exponents.items():
        place_of(name).grids.setdefault(exponent, []).append(name)
    for name, error in (evidence.errors if evidence else {}).items():
        place = place_of(name)
        if error.kind == "layer" and (place.worst is None or error.sqnr_db < place.worst[1].sqnr_db):
            place.worst = (name, error)
    for place in blocks.values():
        for exponent, names in place.grids.items():
            reason = "the finest grid on which calibrated values have 15 bits and a sign: sums are exact"
            place.decisions.append(Decision(f"residual: {', '.join(names)}", f"multiples of 2^{-exponent}", reason))
    return list(blocks.values())


def _cost(alone: Mapping[str, float], layer: str, *units: str) -> str:
    found = next((alone[f"{layer}:{unit}"] for unit in units if f"{layer}:{unit}" in alone), None)
    return "" if found is None else f"this width alone costs an estimated divergence of {found:.2g}"


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
