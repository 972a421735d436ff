"""The middle of an export: what is ready to be built, a class a plan, and how each gives graph and recipe."""

import math
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch

from mptq_export.allocate.allocation import Allocation
from mptq_export.allocate.parts_problem import pins_of
from mptq_export.allocate.units import pinned_widths
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.calibrate.heads import recalibrated
from mptq_export.capture.compare_batches import BATCHES
from mptq_export.capture.graph import Graph
from mptq_export.data.probe import probe_inputs
from mptq_export.detect.glue import Networks
from mptq_export.export.identity import identity_of
from mptq_export.export.learn import learned_if_asked
from mptq_export.export.outputs import Outputs, part_recipe
from mptq_export.export.plan import Replayed, Searched, Uniform
from mptq_export.export.replay import check_model, replay_graph, replay_settings
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.detector import Part
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.settings import CalibrationFacts, SearchFacts, Settings
from mptq_export.recipe.store import read_recipe
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_weights_fit
from mptq_export.support.progress import Progress, undivided
from mptq_export.support.version import __version__
from mptq_export.targets.rules import residual_bits, storage_for
from mptq_export.targets.table import portable_form


@dataclass(frozen=True)
class UniformBuild:
    """A calibrated model that will have one pair of widths; of a detector with the heads of its second stage."""

    plan: Uniform
    calibrated: Calibrated
    heads: "tuple[UniformBuild, ...]" = ()

    @staticmethod
    def of(plan: Uniform, calibrated: Calibrated, outputs: Outputs) -> "UniformBuild":
        """The same plan for all networks of a model, each with the pins that name layers of it.

        Raises:
            MptqError: a pin matches no layer.
        """
        if not calibrated.heads:
            return UniformBuild(plan, calibrated)
        form, networks = form_for(outputs.target, plan.residual_bits), (calibrated, *calibrated.heads)
        graphs = [graph_for(form, each.graph, outputs.input_type) for each in networks]
        pins = pins_of(graphs, plan.pins)
        first, *heads = (UniformBuild(replace(plan, pins=own), one) for one, own in zip(networks, pins, strict=True))
        return replace(first, heads=tuple(heads))

    def head(self, number: int, networks: Networks, progress: Progress) -> "UniformBuild":
        """One of the heads, calibrated on what the finished networks before it cut out of the pictures."""
        own = self.heads[number]
        return replace(own, calibrated=recalibrated(own.calibrated, self.calibrated, networks, progress))

    @property
    def loaded(self) -> LoadedModel:
        """The float model."""
        return self.calibrated.loaded

    def build(self, outputs: Outputs, progress: Progress) -> tuple[Graph, ExportRecipe]:
        """Choose all quantizers: the graph with the transforms that they were chosen for on the CPU, and the recipe."""
        plan, calibrated = self.plan, self.calibrated
        form = form_for(outputs.target, plan.residual_bits)
        graph = graph_for(form, calibrated.graph, outputs.input_type)
        pinned = pinned_widths(graph, plan.pins)
        bits = "{}/{}".format(*plan.bits) + (f", {len(pinned)} layers pinned" if pinned else "")
        with progress.stage("quantizing", 1) as bar:
            built = build_recipe(
                CalibratedGraph(graph, calibrated.stats, calibrated.images),
                lambda layer: pinned.get(layer, plan.bits),
                METHODS[plan.method],
                bar,
                form=form,
            )
        learned = learned_if_asked(plan, outputs, calibrated, (graph, *built), progress)
        settings = recipe_settings(plan, outputs, calibrated, bits, learned.warnings)
        return learned.graph, ExportRecipe.of(learned.recipe, identity_of(self.loaded), settings)


@dataclass(frozen=True)
class SearchedBuild:
    """A calibrated model with the widths that a search found for one budget."""

    plan: Searched
    allocation: Allocation

    @property
    def heads(self) -> "tuple[SearchedBuild, ...]":
        """Of a detector of two stages those of its heads."""
        return tuple(SearchedBuild(self.plan, each) for each in self.allocation.heads)

    @property
    def calibrated(self) -> Calibrated:
        """What the model was calibrated on."""
        return self.allocation.calibrated

    @property
    def loaded(self) -> LoadedModel:
        """The float model."""
        return self.calibrated.loaded

    def head(self, number: int, networks: Networks, progress: Progress) -> "SearchedBuild":
        """One of the heads, calibrated on what the finished networks before it cut out of the pictures."""
        own = self.allocation.heads[number]
        on = recalibrated(own.calibrated, self.calibrated, networks, progress)
        return SearchedBuild(self.plan, own.on(on))

    def build(self, outputs: Outputs, progress: Progress) -> tuple[Graph, ExportRecipe]:
        """Choose all quantizers anew for the widths: graph on the CPU, and recipe."""
        plan, calibrated, allocation = self.plan, self.calibrated, self.allocation
        with progress.stage("quantizing", 1) as bar:
            built = allocation.build_final_recipe(outputs.input_type, bar)
        prepared = graph_for(form_for(outputs.target, plan.residual_bits), calibrated.graph, outputs.input_type)
        learned = learned_if_asked(plan, outputs, calibrated, (prepared, *built), progress)
        settings = recipe_settings(plan, outputs, calibrated, allocation.bits_text, learned.warnings)
        settings = replace(settings, search=_search_facts(allocation))
        return learned.graph, ExportRecipe.of(learned.recipe, identity_of(self.loaded), settings)


@dataclass(frozen=True)
class ReplayedBuild:
    """A loaded model and a stored recipe that was made for it."""

    plan: Replayed
    loaded: LoadedModel
    recipe: ExportRecipe
    calibrated: None = None
    heads: "tuple[ReplayedBuild, ...]" = ()

    @staticmethod
    def read(plan: Replayed, loaded: LoadedModel, outputs: Outputs) -> "ReplayedBuild":
        """Read a recipe for a loaded model, with the outputs' input type, weight storage and target if they have one.

        Raises:
            MptqError: the recipe cannot be read, or is that of another model, or memory is too small.
        """
        check_weights_fit(loaded.parameters)
        recipe = read_recipe(plan.recipe)
        profile = outputs.profile_with(recipe.settings.profile)
        if outputs.batch is not None and profile is None:
            raise MptqError(
                f"--batch is that of a file of --profile sonnx, which {plan.recipe} has not; add the profile"
            )
        recipe = replay_settings(
            plan.recipe, recipe, outputs.input_type, outputs.weight_storage, outputs.target, profile=profile
        )
        settings = recipe.settings
        if settings.features and not loaded.features:
            loaded = loaded.with_features(settings.features)
        elif settings.outputs and not settings.features:
            loaded = loaded.as_recorded(settings.outputs)
        check_model(plan.recipe, recipe, identity_of(loaded), loaded.preprocessing.to_metadata())
        heads = []
        for head in loaded.heads:
            part = _part(head)
            own = Replayed(part_recipe(plan.recipe, part))
            heads.append(ReplayedBuild.read(own, head, outputs.of_part(part)))
        return ReplayedBuild(plan, loaded, recipe, heads=tuple(heads))

    def head(self, number: int, _networks: Networks, _progress: Progress) -> "ReplayedBuild":
        """One of the heads, as its own recipe has it."""
        return self.heads[number]

    def build(self, _outputs: Outputs, progress: Progress) -> tuple[Graph, ExportRecipe]:
        """The graph of the recipe on the CPU; synthetic images are only the probe of the rewrites."""
        probe = torch.from_numpy(probe_inputs(self.loaded.preprocessing, max(BATCHES)))
        with undivided(progress, "replaying"):
            return replay_graph(self.plan.recipe, self.recipe, self.loaded, probe), self.recipe


Build = UniformBuild | SearchedBuild | ReplayedBuild


def _part(head: LoadedModel) -> Part:
    assert head.detector is not None
    return head.detector.part


def recipe_settings(
    plan: Uniform | Searched, outputs: Outputs, calibrated: Calibrated, bits: str, warnings: tuple[str, ...]
) -> Settings:
    """How an export was asked for, as recipes store it.

    Args:
        plan: where the codes come from.
        outputs: what is written.
        calibrated: the model and its inputs.
        bits: the widths, for people.
        warnings: of the learning; they join those of the inputs.
    """
    loaded, source = calibrated.loaded, calibrated.source
    pins = plan.pins if isinstance(plan, Uniform) else plan.search.pins
    return Settings(
        bits=bits,
        pins={pattern: "{}/{}".format(*widths) for pattern, widths in pins.items()},
        method=plan.method,
        reconstruct=plan.reconstruct,
        input_type=outputs.input_type or "float32",
        weight_storage=storage_for(outputs.target or "ort", outputs.weight_storage),
        target=outputs.target,
        features=tuple(feature.index for feature in loaded.features),
        preprocessing=loaded.preprocessing.to_metadata(),
        calibration=CalibrationFacts(
            description=source.description,
            images=calibrated.stats.images,
            pixel_inputs=calibrated.pixel_inputs,
            exif=calibrated.asked.reading.exif,
            skipped=source.skipped,
            warnings=(*source.warnings, *warnings),
        ),
        classes=calibrated.classes.named,
        search=None,
        versions={"mptq-export": __version__, **{name: version(name) for name in ("torch", "timm", "onnx")}},
        outputs=loaded.outputs,
        form="exact" if portable_form(outputs.target) is None else "portable",
        residual_bits=residual_bits(outputs.target, plan.residual_bits),
        profile=outputs.profile_with(),
    )


def _search_facts(allocation: Allocation) -> SearchFacts:
    """Why the layers have their widths."""
    found, settings = allocation.found, allocation.settings
    return SearchFacts(
        budget=found.budget.text,
        range=settings.widths.ends,
        tied=settings.tied,
        solver=found.solver,
        mean_bits=allocation.mean_bits,
        divergence={name: kl if math.isfinite(kl) else None for name, kl in found.compared.items()},
        evaluations=found.evaluations,
        widths={layer: "{}/{}".format(*widths) for layer, widths in found.widths.items()},
        estimated_divergence_alone=allocation.estimates,
        metric=allocation.search.terms.metric,
    )
