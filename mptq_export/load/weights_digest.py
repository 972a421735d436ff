"""What tells the weights of one checkpoint from those of another."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes of a state dict, in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)  # no copy
    return digest.hexdigest()
