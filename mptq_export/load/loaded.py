"""A float model that is ready to be captured, and what is known about it: the same from whatever library it came."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.features import FeatureMap
from mptq_export.load.forward import picking
from mptq_export.load.inputs import input_text
from mptq_export.load.outputs import LOGITS, Output, chosen
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.detector import Detector
from mptq_export.recipe.settings import Library
from mptq_export.support.errors import MptqError


def inference_ready(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, float32, on the CPU, without gradients."""
    return model.float().cpu().eval().requires_grad_(False)


def fitting_names(names: tuple[str, ...] | None, logits: int | None) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names, if there is one for every logit or nobody knows how many there are, and what to tell if not."""
    if names is None or logits in (None, len(names)):
        return names, ()
    return None, (f"{len(names)} class names are left out: the model has {logits} logits",)


@dataclass(frozen=True)
class LoadedModel:
    """A float model and what is known about it.

    Attributes:
        model: in evaluation mode, float32, on the CPU; it maps [B, C, H, W] to one tensor, or to a tuple of them.
        arch: name of the architecture, as its library has it.
        model_kwargs: arguments that it was built with.
        arch_source: where the name comes from, for people.
        preprocessing: how an image becomes its input.
        class_names: names of the logits, if known.
        notes: what was inferred, a sentence each, for people.
        asked: what the user said.
        features: what else is known of the feature maps among its outputs (see `load.features`).
        warnings: what the user must see before the file is used, a sentence each: it stands on stderr, in `--json` and
            in the report.
        weights: which of the file's weights were taken, for people.
        class_map: the file that numbered the classes at training, where the checkpoint names one.
        input_sources: who said each part of the input, by name (see `load.inputs`), for people.
        feature_maker: how its library lets it give feature maps instead of logits, from the model and the numbers of
            the maps; None where the library cannot.
        output_maker: how its library lets it give others of its outputs than now, from the model and their names; None
            where `outputs` are all that it has.
        outputs: what it gives, in order.
        library: whose it is.
        detector: what of it is float by nature, where it is a detector that gives all of its outputs.
        heads: the networks of a detector's second stage, which take regions of its maps, in the order of running.
    """

    model: nn.Module
    arch: str
    model_kwargs: dict[str, Any]
    arch_source: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]
    asked: ModelRequest
    features: tuple[FeatureMap, ...] = ()
    warnings: tuple[str, ...] = ()
    weights: str = "given with the model"
    class_map: str | None = None
    input_sources: Mapping[str, str] = field(default_factory=dict)
    feature_maker: "Callable[[LoadedModel, tuple[int, ...]], LoadedModel] | None" = None
    output_maker: "Callable[[LoadedModel, tuple[str, ...]], LoadedModel] | None" = None
    outputs: tuple[Output, ...] = LOGITS
    library: Library = "timm"
    detector: Detector | None = None
    heads: "tuple[LoadedModel, ...]" = ()

    def with_features(self, indices: tuple[int, ...]) -> "LoadedModel":
        """The same model, giving feature maps; this one stays as it is.

        Args:
            indices: numbers of the maps, as the library counts them. Empty: of every resolution the deepest.

        Raises:
            MptqError: the library has no feature maps, or not these of this model.
        """
        if self.feature_maker is None:
            raise MptqError(
                f"--features: there is no way to feature maps of {self.arch} ({self.arch_source}); export it without "
                "--features"
            )
        return self.feature_maker(self, indices)

    def with_outputs(self, names: tuple[str, ...]) -> "LoadedModel":
        """The same model, giving only some of its outputs; this one stays as it is.

        Args:
            names: of those outputs, in the order that they are wanted in.

        Raises:
            MptqError: it has no such output, one is named twice, or they are feature maps, which `with_features` names.
        """
        if self.features:
            raise MptqError("--outputs and --features exclude each other: --features says what is given; leave one out")
        if self.output_maker is not None:
            return self.output_maker(self, names)
        places = chosen(self.outputs, names)
        outputs = tuple(self.outputs[place] for place in places)
        if outputs == self.outputs:
            return self
        kept = self.class_names if any(each.kind == "logits" for each in outputs) else None
        picked = replace(self, model=picking(self.model, places), outputs=outputs, class_names=kept)
        return picked if self.detector is None else picked._no_detector()

    def as_recorded(self, outputs: tuple[Output, ...]) -> "LoadedModel":
        """The same model, giving what a recipe says; of a module the recipe says the kinds, too.

        Raises:
            MptqError: it has no such outputs.
        """
        if self.library != "module":
            return self.with_outputs(tuple(each.name for each in outputs))
        # The one tensor of a module has no name of its own: it is called after its kind.
        alone = len(self.outputs) == len(outputs) == 1
        picked = self if alone else self.with_outputs(tuple(each.name for each in outputs))
        return replace(picked, outputs=outputs)

    def _no_detector(self) -> "LoadedModel":
        """The same as a network that gives tensors: boxes are made of all outputs together."""
        said = f"of the detector {self.arch} only some outputs are given, so that its file makes no boxes"
        return replace(self, detector=None, heads=(), warnings=(*self.warnings, said))

    @property
    def takes_regions(self) -> bool:
        """Whether its input is what was cut out of maps, where that of all other models are images."""
        return self.detector is not None and self.detector.part in ("box", "mask")

    @property
    def input_text(self) -> str:
        """What it takes, in one line for people."""
        if self.takes_regions:
            return f"{'x'.join(map(str, self.preprocessing.input_size))}, cut out of the maps of the first stage"
        return input_text(self.preprocessing, self.input_sources)

    @property
    def logits(self) -> int | None:
        """Which of its outputs, the first of that kind, are scores of classes; None where none are."""
        return next((place for place, each in enumerate(self.outputs) if each.kind == "logits"), None)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(parameter.numel() for parameter in self.model.parameters())
