"""A module that somebody gives: a detector of torchvision as its networks with their description, else as it is."""

from dataclasses import dataclass, replace

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.detection.describe import Looked
from mptq_export.load.detection.inputs import detector_input
from mptq_export.load.detection.parts import Network, networks_of
from mptq_export.load.detection.pyramid import maps_at
from mptq_export.load.detection.recognise import family_of, is_detector
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.module.inputs import OwnInput
from mptq_export.load.module.own import Own, check_built, copied, load_own, unwrapped
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError


def load_module(own: Own, asked: ModelRequest) -> LoadedModel:
    """The module with what is known of it; the user's own stays as it is.

    Raises:
        MptqError: as `load_own` and `load_detector` do.
    """
    module, notes = unwrapped(own.module)
    if not is_detector(module):
        return load_own(own, asked)
    loaded = load_detector(replace(own, module=module), asked)
    return replace(loaded, notes=(*notes, *loaded.notes))


def load_detector(own: Own, asked: ModelRequest) -> LoadedModel:
    """A detector of torchvision; of two stages the first, with the others as its `heads`.

    Raises:
        MptqError: nobody says the size of its images, it cannot take them, or something of it cannot be described.
    """
    check_built(asked)
    if asked.kinds is not None:
        raise MptqError(f"{asked.name} is a detector, whose outputs have known kinds; leave them out of --outputs")
    family = family_of(own.module)
    found, warnings = detector_input(own.module, asked)
    module = copied(own.module)
    size = found.preprocessing.input_size
    first, *heads = networks_of(Looked(module, size, maps_at(module, size), own.class_names), family)
    whole = _Whole(own, asked, found, warnings)
    loaded = replace(whole.loaded(first), heads=tuple(map(whole.head, heads)))
    return loaded if asked.outputs is None else loaded.with_outputs(asked.outputs)


@dataclass(frozen=True)
class _Whole:
    """What all networks of a detector have in common."""

    own: Own
    asked: ModelRequest
    found: OwnInput
    warnings: tuple[str, ...]

    def loaded(self, network: Network) -> LoadedModel:
        """One that takes pictures."""
        own = self.own
        return LoadedModel(
            model=network.network,
            arch=own.name or type(own.module).__name__,
            model_kwargs={},
            arch_source=own.arch_source,
            preprocessing=self.found.preprocessing,
            class_names=None,
            notes=(),
            asked=self.asked,
            warnings=self.warnings,
            weights=own.weights,
            input_sources=self.found.sources,
            outputs=network.outputs,
            library="torchvision",
            detector=network.detector,
        )

    def head(self, network: Network) -> LoadedModel:
        """One that takes regions."""
        assert network.takes is not None
        channels = network.takes[0]
        plain = Preprocessing(network.takes, (0.0,) * channels, (1.0,) * channels)
        return replace(self.loaded(network), preprocessing=plain, warnings=(), input_sources={})
