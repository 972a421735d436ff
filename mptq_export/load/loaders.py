"""The ways to load a model, in the order in which they are asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mptq_export.load.import_torchvision  # noqa: F401 - before all that imports timm
from mptq_export.load.doors import check_asked
from mptq_export.load.hf_hub import fetched, is_of_hf_hub
from mptq_export.load.inputs import InputOptions
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.module import factory, pickled, program
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm import hub, module, state_dict
from mptq_export.load.torchvision import state_dict as torchvision
from mptq_export.load.transformers import adapter, beside
from mptq_export.load.transformers import loader as transformers
from mptq_export.support.errors import MptqError

LOADERS: tuple[Loader, ...] = (
    hub.LOADER,
    factory.LOADER,
    program.LOADER,
    transformers.LOADER,
    adapter.LOADER,
    beside.LOADER,
    pickled.LOADER,
    module.LOADER,
    torchvision.LOADER,
    state_dict.LOADER,
)
"""The first that recognises a source loads it; the last takes what is left, and says what is wrong with it."""


def load_model(
    spec: str | Path,
    *,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    trust: bool = False,
    inputs: InputOptions | None = None,
) -> LoadedModel:
    """Load a checkpoint, or pretrained weights from timm's hub.

    Args:
        spec: path of a checkpoint or of a folder with one, ``timm:NAME`` or ``hf-hub:OWNER/NAME``.
        arch: timm name; overrides the checkpoint's.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's. `num_classes`, `in_chans` and
            a square `img_size` are inferred from the tensors where they are not given.
        trust: whether the file may run code while it is unpickled.
        inputs: how images become the input, where the user says it.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, its tensors do not fit, options
            contradict each other, or the hub cannot be reached.
    """
    return load_asked(ModelRequest(str(spec), arch, model_kwargs or {}, trust, inputs or InputOptions()))


def _on_disk(asked: ModelRequest) -> ModelRequest:
    """The same of a folder of this disk, where a name of a hub of folders was asked for."""
    if not is_of_hf_hub(asked.name):
        return asked
    fetched_one = replace(asked, name=str(fetched(asked.name)))
    check_asked(fetched_one)
    return fetched_one


def load_asked(asked: ModelRequest, loaders: Sequence[Loader] = LOADERS) -> LoadedModel:
    """`load_model` of a request, which may ask for feature maps instead, or for some of its outputs.

    Args:
        asked: what the user says of the model.
        loaders: the ways to load one, in the order in which they are asked; the last takes whatever is left.

    Raises:
        MptqError: the model cannot be loaded, or it has no such maps or outputs.
    """
    check_asked(asked)
    source = Source(_on_disk(asked))
    loaded = next(loader for loader in loaders if loader.recognises(source)).load(source)
    loaded = loaded if source.asked is asked else replace(loaded, asked=asked)
    loaded = loaded if asked.features is None else loaded.with_features(asked.features)
    loaded = loaded if asked.outputs is None else loaded.with_outputs(asked.outputs)
    _check_kinds(asked, loaded)
    return loaded


def _check_kinds(asked: ModelRequest, loaded: LoadedModel) -> None:
    """Refuse other kinds of outputs than a library's models have."""
    if asked.kinds is None or loaded.library == "module":
        return
    known = {each.name: each.kind for each in loaded.outputs}
    said = dict.fromkeys(known, asked.kinds) if isinstance(asked.kinds, str) else asked.kinds
    other = next((name for name, kind in said.items() if known.get(name) != kind), None)
    if other is not None:
        what = f"{other} of {loaded.arch} is {known[other]}" if other in known else f"{loaded.arch} gives no {other}"
        raise MptqError(f"{what}; the kinds of outputs can be said of a module of your own only")
