"""From every trained tensor to its codes: what it reaches, which layer's codes were chosen from it, where they lie."""

import math

import onnx

from mptq_export.dossier.contents import Quantizer, StoredTensor, Trace, TracedLayer
from mptq_export.recipe.json_layout import WeightEntry
from mptq_export.recipe.schema import ActivationQuant
from mptq_export.report.export_files import Export
from mptq_export.report.lineage import Lineage, RewrittenWeight
from mptq_export.verify.graph import GraphReader

_PARAMETERS = ("weight", "bias")


def trace_of(export: Export, model: onnx.ModelProto) -> Trace:
    """The trace of an exact file.

    Args:
        export: its files.
        model: the file.
    """
    recipe, graph = export.recipe, GraphReader(model)
    lineage = None if export.evidence is None else export.evidence.lineage
    layers = []
    for name, quant in recipe.weights.items():
        entry = WeightEntry.of(quant)
        rewritten = None if lineage is None else lineage.weights.get(name)
        layers.append(
            TracedLayer(
                layer=name,
                trained=() if lineage is None else _trained(lineage, name),
                rewritten_sha256=None if rewritten is None else rewritten.sha256,
                sqnr_db=None if rewritten is None else _decibels(rewritten),
                bits=entry.bits,
                form=entry.form,
                shape=entry.shape,
                sha256=entry.sha256,
                reason=entry.reason,
                stored=_stored(graph, recipe.contents, name),
            )
        )
    quantizers = tuple(_quantizer(site, quant) for site, quant in recipe.activations.items())
    return Trace(() if lineage is None else lineage.tensors, tuple(layers), quantizers)


def _trained(lineage: Lineage, layer: str) -> tuple[str, ...]:
    places = {f"{layer}.{parameter}" for parameter in _PARAMETERS}
    return tuple(tensor.name for tensor in lineage.tensors if places.intersection(tensor.reaches))


def _decibels(weight: RewrittenWeight) -> float | None:
    if weight.noise <= 0 or weight.signal <= 0:
        return None
    return 10 * math.log10(weight.signal / weight.noise)


def _stored(graph: GraphReader, contents: dict[str, str], layer: str) -> tuple[StoredTensor, ...]:
    """The initializers behind a layer's weights and bias, in the file's order."""
    names = {f"{layer}.{parameter}" for parameter in _PARAMETERS} & {*graph.constants, *graph.producers}
    product = graph.producers.get(layer)
    if product is not None:  # layers with equal codes share what they read
        names |= {name for name in product.input[1:] if name}
    behind = graph.behind(names) if names else set()
    return tuple(StoredTensor(name, contents[f"tensor {name}"]) for name in graph.constants if name in behind)


def _quantizer(site: str, quant: ActivationQuant) -> Quantizer:
    return Quantizer(
        site=site,
        bits=quant.bits,
        scale=quant.scale,
        zero_point=quant.zero_point,
        low=quant.low,
        high=quant.high,
        regions=len(quant.regions),
        reason=quant.reason,
    )
