"""The file of a target with made-up codes, before any image is read: what the target cannot take is known then."""

import numpy as np

from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range
from mptq_export.capture import ops
from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Weighted
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.ranges import of_attention, of_range
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant
from mptq_export.recipe.settings import InputType
from mptq_export.support.version import __version__
from mptq_export.targets.file.check import refuse_broken


def rehearse(graph: Graph, target: str | None, widths: WidthsOf, residual: int | None, input_type: InputType) -> None:
    """Emit a model for a target, and check the file by the target's rules.

    Args:
        graph: prepared canonical graph.
        target: the runtime; nothing is done for those of the exact form.
        widths: of every layer.
        residual: width of the residual that was asked for; None: the best that the target has.
        input_type: what the file takes.

    Raises:
        MptqError: the target does not take such a file; the message names the rule.
    """
    form = form_for(target, residual)
    if target is None or not isinstance(form, Portable):
        return
    found = graph_for(form, graph, input_type)
    where = form.sites(found, widths)
    activations = {site.key: _activation(form, where, site) for site in where.all}
    weights = {node.name: _weight(node, widths) for node in found if isinstance(node.op, Weighted)}
    recipe = Recipe(activations, weights, {}, {})
    refuse_broken(emit_portable(found, recipe, where, input_type=input_type, producer=__version__), target)


def _activation(form: Portable, where: PortableSites, site: Site) -> ActivationQuant:
    bits = where.bits(site)
    if isinstance(where.graph.root(site.value).op, ops.Softmax):
        return of_attention(form.form, bits)
    return of_range(form.form, Range(-1.0, 2.0), bits)


def _weight(node: Node, widths: WidthsOf) -> WeightQuant:
    shape = weight_matrix(node).shape
    ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
    return WeightQuant(np.zeros(tuple(shape), np.int8), ones, zeros, widths(node.name)[0], "full")
