"""A checkpoint of any kind whose tensors are named as transformers does, with the model's config.json beside it."""

from dataclasses import replace
from pathlib import Path

from mptq_export.load.file.checkpoint import Checkpoint
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.transformers.architecture import Architecture, architecture_of
from mptq_export.load.transformers.folder import CONFIG, Folder, is_folder
from mptq_export.load.transformers.library import check_installed, offline_library
from mptq_export.load.transformers.loader import assembled, check_options
from mptq_export.load.transformers.names import are_of_transformers
from mptq_export.load.transformers.preprocessing import input_of
from mptq_export.load.transformers.weights import Filled, fill
from mptq_export.support.errors import MptqError


def load_beside(source: Source) -> LoadedModel:
    """The file's tensors in the model of the folder's config.json, such as a fine-tuned one of Lightning.

    Raises:
        MptqError: what `loader.load_folder` refuses, or transformers is not installed.
    """
    checkpoint, folder = source.checkpoint, Folder(Path(source.asked.name).parent)
    check_options(source.asked, folder.path / CONFIG)
    folder.check_said(len(checkpoint.state_dict))
    check_installed(source.asked.name)
    with offline_library() as library:
        architecture = architecture_of(library, folder)
        made = input_of(library, folder, architecture, source.asked.inputs)
        loaded = assembled(source.asked, architecture, made, lambda: _filled(architecture, checkpoint))
    return replace(loaded, weights=checkpoint.weights, notes=(*loaded.notes, *checkpoint.notes))


def _filled(architecture: Architecture, checkpoint: Checkpoint) -> Filled:
    """The model with the file's weights; what all their names begin with may be a wrapper's or the model's own."""
    try:
        return fill(architecture, (), checkpoint.state_dict)
    except MptqError as refusal:
        if not checkpoint.prefix:
            raise
        whole = {checkpoint.prefix + name: tensor for name, tensor in checkpoint.state_dict.items()}
        try:
            return fill(architecture, (), whole)
        except MptqError:
            raise refusal from None


def _is_beside(source: Source) -> bool:
    path = Path(source.asked.name)
    if source.asked.arch is not None or not path.is_file() or not is_folder(path.parent):
        return False
    return source.checkpoint.module is None and are_of_transformers(source.checkpoint.state_dict)


LOADER = Loader(_is_beside, load_beside)
