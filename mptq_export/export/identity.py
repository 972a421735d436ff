"""Which model a recipe belongs to."""

import hashlib
from typing import Any

import numpy as np

from mptq_export.load.loaded import LoadedModel


def identity_of(loaded: LoadedModel) -> dict[str, Any]:
    """Architecture, arguments and weights of a model, as recipes store them."""
    return {
        "arch": loaded.arch,
        "model_kwargs": loaded.model_kwargs,
        "arch_source": loaded.arch_source,
        "weights_sha256": weights_digest(loaded.model.state_dict()),
    }


def weights_digest(state: dict[str, Any]) -> str:
    """SHA-256 over names and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8))  # no copy
    return digest.hexdigest()
