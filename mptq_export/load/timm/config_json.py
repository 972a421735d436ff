"""Whose a `config.json` is: timm's own, or that of another library."""

from collections.abc import Mapping
from typing import Any

_WRAPPED = "timm_wrapper"
"""What transformers calls a model of timm that it wraps; the rest of its configuration is timm's."""


def is_timm_config(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` describes a model of timm, as `timm.models.save_for_hf` and timm's hub write it."""
    kind = config.get("model_type")
    return isinstance(config.get("architecture"), str) and kind in (None, _WRAPPED)
