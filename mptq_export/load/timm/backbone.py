"""A backbone instead of a classifier: a model whose forward gives timm's intermediate feature maps."""

import copy
import functools
from dataclasses import replace
from typing import Any

from mptq_export.load.features import FeatureMap
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.outputs import Output
from mptq_export.support.errors import MptqError


def as_backbone(loaded: LoadedModel, indices: tuple[int, ...]) -> LoadedModel:
    """Let a model give feature maps; what they do not need is removed.

    The maps are those of `timm.create_model(..., features_only=True, out_indices=...)`: NCHW, no class or register
    tokens, without the final norm.

    Args:
        loaded: a float model; it stays as it is.
        indices: numbers of the maps, as timm counts them. Empty: of every resolution the deepest.

    Raises:
        MptqError: timm has no intermediate maps of this model, or not this one.
    """
    model = copy.copy(loaded.model)
    model._modules = dict(loaded.model._modules)  # pruning takes modules away
    known = getattr(model, "feature_info", None)
    forward = getattr(model, "forward_intermediates", None)
    prune = getattr(model, "prune_intermediate_layers", None)
    if not isinstance(known, list) or not known or forward is None or prune is None:
        raise MptqError(
            f"--features: timm has no forward_intermediates for {loaded.arch}; export it without --features, or with "
            "--model-kwargs '{\"num_classes\": 0}' for its feature vector"
        )
    chosen = _chosen(known, indices)
    maps = tuple(_described(known[index], index) for index in chosen)
    prune(list(chosen), prune_norm=True, prune_head=True)
    give: Any = functools.partial(forward, indices=list(chosen), norm=False, output_fmt="NCHW", intermediates_only=True)
    model.forward = give
    asked = replace(loaded.asked, features=indices)
    outputs = tuple(Output(each.name, "map") for each in maps)
    return replace(loaded, model=model, features=maps, outputs=outputs, class_names=None, asked=asked)


def _chosen(known: list[Any], indices: tuple[int, ...]) -> list[int]:
    """Rising numbers of maps."""
    if not indices:
        deepest = {entry["reduction"]: index for index, entry in enumerate(known)}
        return sorted(deepest.values())
    count = len(known)
    outside = [index for index in indices if not 0 <= index < count]
    if outside:
        raise MptqError(f"--features {outside[0]}: the model has the maps 0 to {count - 1}, one a block or stage")
    if len(set(indices)) != len(indices):
        raise MptqError(f"--features {','.join(map(str, indices))} names a map twice; name each once")
    return sorted(indices)


def _described(entry: dict[str, Any], index: int) -> FeatureMap:
    return FeatureMap(index, str(entry["module"]), int(entry["num_chs"]), int(entry["reduction"]))
