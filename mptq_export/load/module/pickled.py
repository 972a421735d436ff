"""A module of no library that a file holds as a whole: built and filled already, by whatever code the file ran."""

from dataclasses import replace

from mptq_export.load.detection.loader import load_module
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.module.door import import_from_here
from mptq_export.load.module.own import Own
from mptq_export.support.errors import one_line


def load_pickled(source: Source) -> LoadedModel:
    """Take the module as it is; what lies beside it says how images become its input, where the user does not.

    Raises:
        MptqError: nobody says that, or the module cannot be exported.
    """
    checkpoint = source.checkpoint
    assert checkpoint.module is not None
    own = Own(
        checkpoint.module,
        "the pickled module",
        checkpoint.pretrained_cfg,
        "the checkpoint",
        checkpoint.class_names,
        checkpoint.weights,
    )
    loaded = load_module(own, source.asked)
    return replace(loaded, class_map=checkpoint.class_map, notes=tuple(map(one_line, loaded.notes)))


def _is_own(source: Source) -> bool:
    """A module that timm did not make; one that the user wants as an architecture is but its tensors."""
    if source.asked.arch is not None:
        return False
    if source.asked.trust:
        import_from_here()  # the class of one's own module mostly lies there
    module = source.checkpoint.module
    return module is not None and not type(module).__module__.startswith("timm.")


LOADER = Loader(_is_own, load_pickled)
