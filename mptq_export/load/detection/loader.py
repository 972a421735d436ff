"""A module that somebody gives: a detector of torchvision as its networks with their description, else as it is."""

from dataclasses import dataclass, replace

import torch

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.detection.describe import Looked
from mptq_export.load.detection.inputs import detector_input
from mptq_export.load.detection.parts import Network, networks_of
from mptq_export.load.detection.pyramid import maps_at
from mptq_export.load.detection.recognise import family_of, is_detector
from mptq_export.load.detection.sets import OUTPUTS, is_set, names_in, set_detector
from mptq_export.load.forward import tensors
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
    if is_detector(module):
        loaded = load_detector(replace(own, module=module), asked)
    elif is_set(module):
        loaded = load_set(replace(own, module=module), asked)
    else:
        return load_own(own, asked)
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


def load_set(own: Own, asked: ModelRequest) -> LoadedModel:
    """A module of transformers that gives a set of boxes, as other modules are loaded; its `logits` and `pred_boxes`.

    Raises:
        MptqError: as `load_own` does, or there are other class names than classes.
    """
    config = getattr(own.module, "config", None)
    stated = {"crop_mode": "corner", "crop_pct": 1.0, "interpolation": "bilinear", **own.stated}
    size = getattr(config, "image_size", None)
    if isinstance(size, list | tuple) and len(size) == 2:
        stated.setdefault("input_size", (int(getattr(config, "num_channels", 3)), *size))
    module = replace(
        own, stated=stated, stated_by=own.stated_by or "as usual for detectors of transformers", class_names=None
    )
    usual = replace(asked, outputs=asked.outputs or tuple(OUTPUTS), kinds=asked.kinds or OUTPUTS)
    loaded = load_own(module, usual)
    size = loaded.preprocessing.input_size
    with torch.inference_mode():
        given = tensors(loaded.model(torch.zeros(1, *size)))
    shapes = {each.name: tuple(value.shape) for each, value in zip(loaded.outputs, given, strict=True)}
    detector = set_detector(shapes, size[1:], own.class_names or names_in(config))
    if own.class_names is not None and detector is not None and detector.names is None:
        raise MptqError(
            f"{len(own.class_names)} class names are given, and {loaded.arch} has {detector.classes} classes; give one "
            'for each, without "no object"'
        )
    return replace(loaded, asked=asked, detector=detector)


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
