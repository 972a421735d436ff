"""A folder of transformers as a model that is ready to be captured."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.detection.sets import SETS, names_in, set_detector
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.architecture import Architecture, architecture_of
from mptq_export.load.transformers.folder import CONFIG, Folder, folder_of
from mptq_export.load.transformers.library import first_line, offline_library
from mptq_export.load.transformers.masking import keep_every_patch
from mptq_export.load.transformers.outputs import Given, OutputChoice, outputs_of
from mptq_export.load.transformers.preprocessing import Input, input_of
from mptq_export.load.transformers.projection import with_all_outputs
from mptq_export.load.transformers.weights import Filled, fill, skeleton
from mptq_export.support.errors import MptqError

_SEVERAL = ("multi_label_classification", "regression")


def load_folder(source: Source) -> LoadedModel:
    """Read configuration, processor and weights, with the library's own code and nothing else.

    Raises:
        MptqError: it is no model of pictures, its weights do not fit, its pictures cannot be made here, or an option
            does not fit it.
    """
    path = folder_of(source.asked)
    assert path is not None  # so it was recognised
    folder = Folder(path)
    check_options(source.asked, folder.path / CONFIG)
    with offline_library() as library:
        architecture = architecture_of(library, folder)
        made = input_of(library, folder, architecture, source.asked.inputs)
        loaded = assembled(source.asked, architecture, made, lambda: fill(architecture))
    more = f" and {len(folder.files) - 1} more" if len(folder.files) > 1 else ""
    return replace(loaded, weights=f"{folder.files[0].name}{more}")


def assembled(
    asked: ModelRequest, architecture: Architecture, made: Input, filling: Callable[[], Filled]
) -> LoadedModel:
    """A model with all that is known of it; weights are read last, when all else is known to fit.

    Args:
        asked: what the user says.
        architecture: of the model.
        made: how a picture becomes its input.
        filling: reads the weights.

    Raises:
        MptqError: it does not take such pictures, or its weights do not fit.
    """
    given = _outputs(architecture, _for_pictures(skeleton(architecture)), made.preprocessing)
    filled = filling()
    model = _for_pictures(filled.model)
    if filled.lacks_pooler:
        given = _outputs(architecture, model, made.preprocessing)
    names, warnings = _class_names(architecture, given)
    detector = None
    if architecture.name in SETS:
        detector = set_detector(given.shapes, made.preprocessing.input_size[1:], names_in(architecture.config))
    choice = OutputChoice(inference_ready(model), given, names, detector)
    loaded = LoadedModel(
        model=choice.model,
        arch=architecture.name,
        model_kwargs={},
        arch_source=CONFIG,
        preprocessing=made.preprocessing,
        class_names=names,
        notes=(*_notes(architecture, filled), *made.notes),
        asked=asked,
        warnings=(*made.warnings, *warnings),
        input_sources=made.sources,
        output_maker=choice,
        library="transformers",
    )
    return choice.usual(loaded)


def _for_pictures(model: nn.Module) -> nn.Module:
    """The model with all that it computes for whole pictures."""
    keep_every_patch(model)
    return with_all_outputs(model)


def _outputs(architecture: Architecture, model: nn.Module, preprocessing: Preprocessing) -> Given:
    folder, renamed = architecture.folder, architecture.part.renamed if architecture.part else {}
    one_label = getattr(architecture.config, "problem_type", None) not in _SEVERAL
    try:
        return outputs_of(model, preprocessing.input_size, one_label=one_label, renamed=renamed)
    except MptqError:
        raise
    except TypeError as error:
        raise MptqError(
            f"{folder.path}: {architecture.name} needs more than pictures ({first_line(error)}); give the folder of a "
            "model whose input is pictures of one size"
        ) from error
    except Exception as error:
        _, height, width = preprocessing.input_size
        raise MptqError(
            f"{folder.path}: {architecture.name} does not take pictures of {height}x{width} ({first_line(error)}); "
            "its processor and its config.json differ, or --img-size is not its own"
        ) from error


def _class_names(architecture: Architecture, given: Given) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of the logits, unless they are the library's placeholders."""
    numbered = getattr(architecture.config, "id2label", None)
    if given.classes is None or not isinstance(numbered, dict):
        return None, ()
    if sorted(numbered) != list(range(len(numbered))):
        return None, (f"the class names of {CONFIG} are left out: their numbers have gaps",)
    names = tuple(str(numbered[number]) for number in range(len(numbered)))
    if all(name == f"LABEL_{number}" for number, name in enumerate(names)):
        return None, ()
    return fitting_names(names, given.classes)


def _notes(architecture: Architecture, filled: Filled) -> tuple[str, ...]:
    notes = []
    if architecture.part is not None:
        left = f"; {' and '.join(filled.left)} left out" if filled.left else ""
        notes.append(f"of {architecture.whole} the part that sees pictures, {architecture.name}{left}")
    if filled.lacks_pooler:
        notes.append("the file has no weights of the pooler, so there is no pooler_output")
    return tuple(notes)


def check_options(asked: ModelRequest, said_in: Path) -> None:
    """Refuse options for models of timm.

    Args:
        asked: what the user says.
        said_in: the file that says it instead.

    Raises:
        MptqError: there are some.
    """
    for option, given in (("--arch", asked.arch), ("--model-kwargs", asked.model_kwargs)):
        if given:
            raise MptqError(f"{option} is for models of timm: {said_in} says it for this one; leave it out")


LOADER = Loader(lambda source: folder_of(source.asked) is not None, load_folder)
