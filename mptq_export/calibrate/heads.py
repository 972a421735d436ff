"""The heads of a detector's second stage, calibrated on what the stages before cut out of the calibration pictures."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.calibrate.calibrated import BATCH, Calibrated, calibrate_on
from mptq_export.calibrate.regions import cut_regions
from mptq_export.calibrate.statistics import collect
from mptq_export.capture.graph import Graph
from mptq_export.data.comparison_images import fixed_inputs
from mptq_export.data.sources.source import CalibrationSource
from mptq_export.detect.glue import Network, Networks
from mptq_export.load.forward import tensors
from mptq_export.load.loaded import LoadedModel
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import Progress, tracked


def float_network(loaded: LoadedModel) -> Network:
    """A float network as the glue calls it."""
    names = [each.name for each in loaded.outputs]

    def run(inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = tensors(loaded.model(torch.from_numpy(inputs)))
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}

    return run


def calibrated_heads(first: Calibrated, progress: Progress, check: Callable[[Graph], None]) -> tuple[Calibrated, ...]:
    """The heads of a detector, calibrated on regions that its float stages cut out.

    Args:
        first: the first stage.
        progress: hears how far it is.
        check: looks at each prepared graph.

    Raises:
        MptqError: a head holds what cannot be captured, or memory is too small.
    """
    loaded = first.loaded
    networks = Networks(*map(float_network, (loaded, *loaded.heads)))
    found = []
    for head in loaded.heads:
        source, per_picture = _regions_of(first, head, networks)
        found.append(replace(calibrate_on(source, head, first.asked, progress, check), per_picture=per_picture))
    return tuple(found)


def recalibrated(head: Calibrated, first: Calibrated, networks: Networks, progress: Progress) -> Calibrated:
    """A head on regions that other networks cut out, such as finished files.

    Args:
        head: calibrated once.
        first: the first stage, with the pictures.
        networks: the stages before.
        progress: hears how far it is.
    """
    source, per_picture = _regions_of(first, head.loaded, networks)
    assert source.held is not None
    device = str(head.images.device)
    batches = tracked(source.batches(BATCH), progress, "calibrating", -(-source.count // BATCH))
    stats = collect(head.graph, batches, device)
    images = torch.from_numpy(source.held).to(device)
    return replace(head, source=source, stats=stats, images=images, per_picture=per_picture)


def _regions_of(first: Calibrated, head: LoadedModel, networks: Networks) -> tuple[CalibrationSource, float]:
    """What a head is calibrated on, and how many regions it sees of a picture.

    Args:
        first: the first stage, with the pictures.
        head: of the second stage.
        networks: the stages before.

    Raises:
        MptqError: no picture has a region.
    """
    detector = head.detector
    assert detector is not None
    cut = cut_regions(detector, detector.part, networks, first.images.cpu().numpy())
    regions = cut.regions
    if not len(regions):
        raise MptqError(
            f"the detector proposes no region in any of {first.source.description}, so its {detector.part} head cannot "
            "be calibrated; give images of what it was trained on"
        )
    warnings = (
        ()
        if cut.found
        else (
            f"the detector finds nothing in {first.source.description}, so its mask head is calibrated on proposals; "
            "give images of what it was trained on",
        )
    )
    what = f"regions for the {detector.part} head in {first.source.description}"
    source = CalibrationSource(
        count=len(regions),
        description=f"{len(regions)} {what}",
        warnings=warnings,
        read=lambda: iter(regions),
        comparison=partial(fixed_inputs, regions, what, calibrated=len(regions)),
        held=regions,
    )
    # A head that sees nothing of these pictures is not for nothing: one region of all counts.
    return source, max(cut.per_picture, 1 / max(len(first.images), 1))
