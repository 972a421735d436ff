"""A folder as timm's hub keeps it: a `config.json` of timm, and the weights."""

from dataclasses import replace

from mptq_export.load.file.content import Content
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.timm.door import hub_weights, is_hub_folder
from mptq_export.load.timm.state_dict import load_state_dict


def load_folder(source: Source) -> LoadedModel:
    """Load the weights, as the configuration beside them says.

    Raises:
        MptqError: there are none, or they do not fit.
    """
    weights = hub_weights(source.asked.name)
    loaded = load_state_dict(Source(replace(source.asked, name=str(weights))))
    return replace(loaded, asked=source.asked, weights=f"{weights.name} of the folder")


LOADER = Loader(lambda source: source.kind is Content.FOLDER and is_hub_folder(source.asked.name), load_folder)
