"""Float and quantized model side by side on a few images: errors, channel ranges, histograms.

The walk is that of `quantize/walk/`, with all quantizers known. Memory holds the values that are still to be read, but
for scores of all images where they are too many.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.deferred import Value, deferring_scores, whole
from mptq_export.capture.evaluate import computed_in
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Input, Matmul, Weighted
from mptq_export.data.images import spread
from mptq_export.quantize.form import Simulation
from mptq_export.recipe.schema import Recipe, SqB
from mptq_export.report.evidence import ChannelRanges, ErrorKind, LayerError, ValueHistogram
from mptq_export.support.progress import Progress, tracked

#: Images that are observed, spread over the calibration set.
IMAGES = 8

#: Bins of a histogram.
_BINS = 96

#: Points of a picture of channel ranges.
_GROUPS = 96


@dataclass
class Observed:
    """What was seen.

    Attributes:
        images: how many there were.
        errors: by node, in graph order.
        norms: by layer norm with SQ-b.
        histograms: by key of a quantizer whose levels have regions.
    """

    images: int = 0
    errors: dict[str, LayerError] = field(default_factory=dict)
    norms: dict[str, ChannelRanges] = field(default_factory=dict)
    histograms: dict[str, ValueHistogram] = field(default_factory=dict)


def observed_images(images: torch.Tensor) -> torch.Tensor:
    """`IMAGES` of the calibration inputs, evenly spread, on the CPU."""
    return images[spread(range(len(images)), IMAGES)].cpu()


def observe(graph: Graph, recipe: Recipe, simulator: Simulation, images: torch.Tensor, progress: Progress) -> Observed:
    """Run both models.

    Args:
        graph: prepared graph with the recipe's transforms, on the CPU.
        recipe: all quantizers.
        simulator: the quantized model, as a file of the recipe's form computes it.
        images: float32 inputs in the layout of the graph's input.
        progress: hears how far it is.
    """
    found = Observed(len(images))
    floating = computed_in(images.dtype)
    last_use = {name: node.name for node in graph for name in node.inputs}
    floats: dict[str, Value] = {}
    values: dict[str, Value] = {}
    deferring = deferring_scores(graph, len(images))
    with torch.no_grad():
        for node in tracked(graph, progress, "observing", len(graph.nodes)):
            if isinstance(node.op, Input):
                floats[node.name] = values[node.name] = images
                continue
            for site in simulator.sites.get(node.name, ()):
                quant = recipe.activations[site.key]
                if quant.regions and site.value in values:
                    found.histograms[site.key] = _histogram(whole(values[site.value]))
            floats[node.name] = deferring.value(node, [floats[name] for name in node.inputs], floating)
            values[node.name] = deferring.value(node, [values[name] for name in node.inputs], simulator.compute)
            kind = _kind(node, simulator, recipe)
            if kind is not None:
                found.errors[node.name] = _error(kind, whole(floats[node.name]), whole(values[node.name]))
            if node.name in recipe.sq_b:
                found.norms[node.name] = sq_b_ranges(whole(floats[node.name]), recipe.sq_b[node.name])
            for name in set(node.inputs):
                if last_use[name] == node.name and name != graph.output:
                    del floats[name], values[name]
    return found


def _kind(node: Node, simulator: Simulation, recipe: Recipe) -> ErrorKind | None:
    """What a node counts as; None where its error says nothing.

    Scores are left out: those that lie too far below their row's maximum to matter are clipped, on purpose and far.
    """
    if isinstance(node.op, Weighted) or (isinstance(node.op, Matmul) and node.name not in simulator.results):
        return "layer"
    is_stream = node.name in recipe.exponents or (not recipe.exponents and node.name in simulator.results)
    return "stream" if isinstance(node.op, Add) and is_stream else None


def _error(kind: ErrorKind, exact: torch.Tensor, found: torch.Tensor) -> LayerError:
    exact = exact.double()
    return LayerError(kind, float(exact.square().mean()), float((found.double() - exact).square().mean()))


def _histogram(value: torch.Tensor) -> ValueHistogram:
    low, high = (float(end) for end in torch.aminmax(value))
    if not high > low:
        high = low + 1.0
    counts = torch.histc(value.float().reshape(-1), _BINS, low, high)
    return ValueHistogram(low, high, tuple(int(count) for count in counts))


def sq_b_ranges(value: torch.Tensor, sq_b: SqB) -> ChannelRanges:
    """Ranges of all channels before and after SQ-b.

    Args:
        value: float32 [..., D], the layer norm's output after SQ-b, `(x - shift) / scale`.
        sq_b: its shift and scale.
    """
    rows = value.reshape(-1, value.shape[-1]).double().numpy()
    after = np.stack([rows.min(0), rows.max(0)])
    before = after * sq_b.scale + sq_b.shift
    order = np.argsort(before[1] - before[0], kind="stable")
    groups = np.array_split(order, min(_GROUPS, len(order)))

    def ends(ranges: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        largest = max(float(np.abs(ranges).max()), 1e-30)
        low = tuple(round(float(ranges[0, group].min() / largest), 4) for group in groups)
        return low, tuple(round(float(ranges[1, group].max() / largest), 4) for group in groups)

    return ChannelRanges(len(order), *ends(before), *ends(after))
