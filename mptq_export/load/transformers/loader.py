"""A folder of transformers as a model that is ready to be captured."""

from pathlib import Path

from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.loaded import LoadedModel, fitting_names, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.outputs import Output
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.architecture import Architecture, architecture_of
from mptq_export.load.transformers.folder import CONFIG, Folder, is_folder
from mptq_export.load.transformers.library import first_line, offline_library
from mptq_export.load.transformers.masking import keep_every_patch
from mptq_export.load.transformers.outputs import Given, Pixels, outputs_of
from mptq_export.load.transformers.preprocessing import input_of
from mptq_export.load.transformers.weights import Filled, fill, skeleton
from mptq_export.support.errors import MptqError

_SEVERAL = ("multi_label_classification", "regression")


def load_folder(source: Source) -> LoadedModel:
    """Read configuration, processor and weights, with the library's own code and nothing else.

    Raises:
        MptqError: it is no model of pictures, its weights do not fit, its pictures cannot be made here, or an option
            does not fit it.
    """
    asked, folder = source.asked, Folder(Path(source.asked.name))
    _check_options(asked, folder)
    with offline_library() as library:
        architecture = architecture_of(library, folder)
        made = input_of(library, architecture, asked.inputs)
        given = _outputs(architecture, skeleton(architecture), made.preprocessing)
        filled = fill(architecture)
        if filled.lacks_pooler:
            given = _outputs(architecture, filled.model, made.preprocessing)
    keep_every_patch(filled.model)
    outputs = given.usual if asked.outputs is None else given.all
    names, warnings = _class_names(folder, given)
    more = f" and {len(folder.files) - 1} more" if len(folder.files) > 1 else ""
    return LoadedModel(
        model=inference_ready(Pixels(filled.model, tuple(given.own_names[each.name] for each in outputs))),
        arch=architecture.name,
        model_kwargs={},
        arch_source=CONFIG,
        preprocessing=made.preprocessing,
        class_names=names if any(each.kind == "logits" for each in outputs) else None,
        notes=(*_notes(architecture, filled, given, outputs), *made.notes),
        asked=asked,
        warnings=(*made.warnings, *warnings),
        weights=f"{folder.files[0].name}{more}",
        input_sources=made.sources,
        outputs=outputs,
        library="transformers",
    )


def _outputs(architecture: Architecture, model: nn.Module, preprocessing: Preprocessing) -> Given:
    folder, renamed = architecture.folder, architecture.part.renamed if architecture.part else {}
    one_label = folder.config.get("problem_type") not in _SEVERAL
    keep_every_patch(model)
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


def _class_names(folder: Folder, given: Given) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of the logits, unless they are the library's placeholders."""
    stated = folder.config.get("id2label")
    if given.classes is None or not isinstance(stated, dict):
        return None, ()
    try:
        numbered = {int(number): str(name) for number, name in stated.items()}
    except ValueError:
        return None, ("the class names of config.json are left out: they are not numbered",)
    if sorted(numbered) != list(range(len(numbered))):
        return None, ("the class names of config.json are left out: their numbers have gaps",)
    if all(name == f"LABEL_{number}" for number, name in numbered.items()):
        return None, ()
    return fitting_names(tuple(numbered[number] for number in range(len(numbered))), given.classes)


def _notes(architecture: Architecture, filled: Filled, given: Given, outputs: tuple[Output, ...]) -> tuple[str, ...]:
    notes = []
    if architecture.part is not None:
        left = f"; {' and '.join(filled.left)} left out" if filled.left else ""
        notes.append(f"of {architecture.whole} the part that sees pictures, {architecture.name}{left}")
    if filled.lacks_pooler:
        notes.append("the file has no weights of the pooler, so there is no pooler_output")
    others = [each.name for each in given.all if each not in outputs]
    if others:
        named = ", ".join(each.name for each in outputs)
        notes.append(f"gives {named}; --outputs chooses among {', '.join(each.name for each in given.all)}")
    return tuple(notes)


def _check_options(asked: ModelRequest, folder: Folder) -> None:
    """Refuse what is for timm alone."""
    for option, given in (("--arch", asked.arch), ("--model-kwargs", asked.model_kwargs)):
        if given:
            raise MptqError(
                f"{option} is for models of timm; {folder.path / CONFIG} says what this one is, leave it out"
            )
    if asked.inputs.in_chans is not None:
        raise MptqError(f"--in-chans is for models of timm; {folder.path / CONFIG} says it, leave it out")


LOADER = Loader(lambda source: is_folder(Path(source.asked.name)), load_folder)
