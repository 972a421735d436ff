"""A pickled module: built and filled already, by whatever code the file ran."""

from dataclasses import replace

from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.timm.architecture import named_architecture
from mptq_export.load.timm.prebuilt import Prebuilt, loaded_from, pretrained_cfg_of
from mptq_export.load.timm.precedence import asked_of
from mptq_export.support.errors import MptqError, one_line


def load_module(source: Source) -> LoadedModel:
    """Take the module as it is.

    Raises:
        MptqError: the user wants it built otherwise.
    """
    checkpoint, options = source.checkpoint, source.asked
    module = checkpoint.module
    assert module is not None
    if options.model_kwargs or options.inputs.in_chans is not None:
        named = "--model-kwargs" if options.model_kwargs else "--in-chans"
        raise MptqError(f"{source.asked.name} is a pickled module, built already; leave {named} out or pass --arch")
    asked = asked_of(checkpoint, {}, options.inputs)
    name = named_architecture(checkpoint) or type(module).__name__
    default = f"the configuration in the module {name}" if pretrained_cfg_of(module) else "timm's general default"
    built = Prebuilt(
        module,
        name,
        "the pickled module",
        default,
        stated=asked.stated,
        model_kwargs=checkpoint.model_kwargs,
        class_names=checkpoint.class_names,
    )
    loaded = loaded_from(built, source)
    return replace(
        loaded,
        notes=tuple(map(one_line, (*checkpoint.notes, *loaded.notes))),
        warnings=tuple(map(one_line, (*asked.warnings, *loaded.warnings))),
        weights=checkpoint.weights,
        class_map=checkpoint.class_map,
    )


def _is_module(source: Source) -> bool:
    """A module that the user wants as another architecture is but its tensors."""
    return source.asked.arch is None and source.checkpoint.module is not None


LOADER = Loader(_is_module, load_module)
