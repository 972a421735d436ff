"""Which model a recipe belongs to."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import torch

from mptq_export.load.loaded import LoadedModel
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


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)  # no copy
    return digest.hexdigest()
