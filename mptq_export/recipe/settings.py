"""Of which model a recipe is, and how its export was asked for."""

from dataclasses import dataclass
from typing import Any, Literal

from mptq_export.recipe.metric import BY_KIND
from mptq_export.recipe.outputs import LOGITS, Output

InputType = Literal["float32", "uint8"]
"""What an exported file takes: normalised NCHW, or raw NHWC pixels."""

WeightStorage = Literal["packed", "int8"]
"""Codes below 8 bits at their own width, or a byte each."""

MethodName = Literal["minmax", "paper", "best"]
"""A method that exports can use; see `quantize.method.METHODS`."""

Form = Literal["exact", "portable"]
"""What a file is: the same bits on every CPU, or the QDQ graph that accelerators take."""

ProfileName = Literal["sonnx"]
"""A way to write the exact form that leaves nothing implicit; see `mptq_export/profile`."""

Solver = Literal["greedy", "integer programme", "uniform"]
"""What found widths for a budget: Greedy MP, the integer programme over the estimates, or one width for all layers."""

Library = Literal["timm", "transformers", "torchvision", "module"]
"""Whose a model is; `module`: the user's own."""

NamesOrigin = Literal["class map", "checkpoint", "calibration folders"]
"""Who named the classes."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model a recipe belongs to.

    Attributes:
        arch: name of the architecture, as its library has it.
        arch_source: who said so, for people.
        model_kwargs: arguments that it was built with, as JSON holds them.
        weights_sha256: over names and bytes of the weights.
        library: whose it is.
    """

    arch: str
    arch_source: str
    model_kwargs: dict[str, Any]
    weights_sha256: str
    library: Library = "timm"


@dataclass(frozen=True)
class NamedClasses:
    """What the classes are called.

    Attributes:
        names: one a logit.
        origin: who named them.
    """

    names: tuple[str, ...]
    origin: NamesOrigin


@dataclass(frozen=True)
class CalibrationFacts:
    """What an export was calibrated on.

    Attributes:
        description: the inputs, for people.
        images: how many there were.
        pixel_inputs: whether they are normalised 8-bit pixels.
        exif: whether images were turned as their EXIF orientation says.
        skipped: images that could not be read.
        warnings: what the user should know, a sentence each.
    """

    description: str
    images: int
    pixel_inputs: bool
    exif: bool
    skipped: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SearchFacts:
    """Why the layers have their widths, where a search chose them.

    Attributes:
        budget: as it was asked for.
        range: the narrowest and the widest width that were tried.
        tied: whether weights and activations of a layer moved together.
        solver: whose widths were taken.
        mean_bits: mean width of weights by parameters, and of activations by multiply-accumulates.
        divergence: mean divergence of the outputs on the search images by solver, as the search's measurements let
            expect; None where its widths were not allowed.
        evaluations: different candidates that were measured for that.
        widths: `W/A` of every layer.
        estimated_divergence_alone: what the width of every unit costs by itself.
        metric: what divergence was measured by; see `recipe.metric.metric_text`.
    """

    budget: str
    range: tuple[int, int]
    tied: bool
    solver: Solver
    mean_bits: tuple[float, float]
    divergence: dict[Solver, float | None]
    evaluations: int
    widths: dict[str, str]
    estimated_divergence_alone: dict[str, float]
    metric: str = BY_KIND


@dataclass(frozen=True)
class FileProfile:
    """A profile of ONNX that a file obeys.

    Attributes:
        name: of the profile.
        batch: inputs that the file takes at once.
    """

    name: ProfileName
    batch: int

    def __post_init__(self) -> None:
        """Refuse a batch of none."""
        if self.batch < 1:
            raise ValueError(f"profile has a batch of {self.batch}")


@dataclass(frozen=True)
class Settings:
    """How an export was asked for, and what it was made with.

    Attributes:
        bits: the widths in a few words, such as `4/8, 2 layers pinned` (weights/activations).
        pins: `W/A` by shell pattern of layer names; later patterns win.
        method: which techniques were used.
        reconstruct: whether weight codes were learned afterwards.
        input_type: what the file takes.
        weight_storage: how the file holds codes.
        target: the runtime that was asked for; None where none was.
        features: numbers of the feature maps that the file gives; empty where it gives no feature maps.
        preprocessing: how an image becomes the input, as the file's metadata says it.
        calibration: what it was calibrated on.
        classes: what the classes are called; None where that is not known.
        search: where the widths were searched.
        versions: of what exported, by name.
        outputs: what the file gives, in order; empty in files of older versions: logits, or feature maps.
        form: of the file.
        residual_bits: width of the residual: a grid in the exact form, codes in the portable one, 32 for a float.
        profile: that the file obeys; None where none was asked for.
    """

    bits: str
    pins: dict[str, str]
    method: MethodName
    reconstruct: bool
    input_type: InputType
    weight_storage: WeightStorage
    target: str | None
    features: tuple[int, ...]
    preprocessing: dict[str, str]
    calibration: CalibrationFacts
    classes: NamedClasses | None
    search: SearchFacts | None
    versions: dict[str, str]
    outputs: tuple[Output, ...] = ()
    form: Form = "exact"
    residual_bits: int = 16
    profile: FileProfile | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no feature map has."""
        if min(self.features, default=0) < 0:
            raise ValueError(f"features {list(self.features)} are not numbers of feature maps")

    @property
    def gives_logits(self) -> bool:
        """Whether the file gives scores of classes."""
        return any(each.kind == "logits" for each in self.outputs or (() if self.features else LOGITS))
