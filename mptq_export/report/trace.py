"""Follow every tensor of a float model through the rewrites to the layers whose codes were chosen from it.

The model is captured once more with `Origins` watching, and rewritten as the export did it, so that nothing of the
export itself runs otherwise than without a dossier.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph
from mptq_export.capture.origins import Origins
from mptq_export.capture.run import capture_noted
from mptq_export.load.file.folder import files_of
from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.report.lineage import HashedFile, Lineage, RewrittenWeight, TrainedTensor
from mptq_export.support.hashes import sha256_of
from mptq_export.transform.fold_sq_b import fold_sq_b
from mptq_export.transform.prepare import rewritten


def lineage_of(
    loaded: LoadedModel,
    quantized: tuple[Graph, ExportRecipe],
    calibrated: Calibrated | None,
    before: Lineage | None,
) -> Lineage:
    """Where an exact file of a recipe comes from.

    Args:
        loaded: the float model.
        quantized: the float graph that the codes were chosen from, on the CPU, and the recipe.
        calibrated: what it was calibrated on; None for an export from a recipe.
        before: what the export that wrote the recipe says of its inputs, where it said it.
    """
    recipe, state = quantized[1], loaded.model.state_dict()
    origins = Origins(state)
    reached = origins.of_graph(_rewritten_anew(loaded, recipe, origins))
    tensors = tuple(
        TrainedTensor(
            name=name,
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            sha256=_digest(tensor.numpy()),
            reaches=tuple(place for place, names in reached.items() if name in names),
        )
        for name, tensor in state.items()
    )
    named = [Path(name) for name in (loaded.asked.name, loaded.asked.base) if name is not None]
    checkpoint = [_hashed(file, path) for path in named for file in sorted(files_of(path)) if file.is_file()]
    if calibrated is not None:
        source = calibrated.source
        inputs = (source.count, _digest(calibrated.images.cpu().numpy()), _hashed_files(source.files))
        weights = {name: _rewritten_weight(*quantized, name) for name in recipe.weights}
    elif before is not None:
        inputs, weights = (before.inputs, before.inputs_sha256, before.files), before.weights
    else:  # what calibration did to the float weights is not in a recipe: balanced attention
        inputs, weights = (0, "", ()), {}
    return Lineage(tuple(checkpoint), *inputs, tensors, weights)


def _rewritten_anew(loaded: LoadedModel, recipe: ExportRecipe, origins: Origins) -> Graph:
    """The float graph captured and rewritten anew; what calibration does besides stays within the heads of a block."""
    preprocessing = loaded.preprocessing
    normalisation = (preprocessing.mean, preprocessing.std) if recipe.settings.calibration.pixel_inputs else None
    graph = capture_noted(loaded.model, preprocessing.input_size, loaded.outputs, origins)
    with torch.no_grad(), origins:
        graph = rewritten(graph, normalisation)
        for name, sq_b in recipe.sq_b.items():
            graph = fold_sq_b(graph, graph[name], sq_b)
    return graph


def _rewritten_weight(graph: Graph, recipe: ExportRecipe, layer: str) -> RewrittenWeight:
    quant, weight = recipe.weights[layer], weight_matrix(graph[layer]).double().numpy()
    error = quant.codes.astype(np.float64) * quant.scale[:, None] - weight
    return RewrittenWeight(
        _digest(weight.astype(np.float32)), float(np.square(weight).mean()), float(np.square(error).mean())
    )


def _hashed_files(files: Sequence[Path]) -> tuple[HashedFile, ...]:
    """Files by their paths below the folder that holds them all."""
    parents = [set(file.parents) for file in files]
    common = max(set.intersection(*parents), key=lambda path: len(path.parts)) if parents else Path()
    return tuple(_hashed(file, common) for file in files)


def _hashed(file: Path, below: Path) -> HashedFile:
    name = file.relative_to(below).as_posix() if below in file.parents else file.name
    return HashedFile(name, file.stat().st_size, sha256_of(file))


def _digest(values: NDArray[Any]) -> str:
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return hashlib.sha256(little.reshape(-1).view(np.uint8).data).hexdigest()
