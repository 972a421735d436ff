"""Which model a recipe belongs to."""

import json

from mptq_export.load.loaded import LoadedModel
from mptq_export.load.weights_digest import weights_digest
from mptq_export.recipe.settings import ModelIdentity


def identity_of(loaded: LoadedModel) -> ModelIdentity:
    """Architecture, arguments and weights of a model, as recipes store them."""
    return ModelIdentity(
        arch=loaded.arch,
        arch_source=loaded.arch_source,
        model_kwargs=json.loads(json.dumps(loaded.model_kwargs)),  # JSON knows no tuples
        weights_sha256=weights_digest(loaded.model.state_dict()),
        library=loaded.library,
    )
