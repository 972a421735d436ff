"""A prepared graph as the portable form has it: the same function, in ops that runtimes know."""

from mptq_export.capture.graph import Graph
from mptq_export.recipe.settings import InputType
from mptq_export.targets.portable import PortableForm
from mptq_export.transform.few_axes import few_axes
from mptq_export.transform.fold_alpha import fold_alpha
from mptq_export.transform.layers_in_parts import layers_in_parts
from mptq_export.transform.merge_movement import merge_movement
from mptq_export.transform.merge_score_constants import merge_score_constants
from mptq_export.transform.paired_norms import paired_norms
from mptq_export.transform.pixel_input import pixel_input
from mptq_export.transform.plain_activations import plain_activations
from mptq_export.transform.plain_norms import plain_norms
from mptq_export.transform.plain_resample import plain_resample
from mptq_export.transform.plain_rotary import plain_rotary


def portable_graph(graph: Graph, input_type: InputType, form: PortableForm) -> Graph:
    """Rewrite a prepared graph for the portable form.

    Args:
        graph: as `transform.prepare.prepare` gives it.
        input_type: what the file takes.
        form: how the file is written.

    Preserves: the output.
    """
    graph = plain_norms(pixel_input(graph, input_type, middle=form.middle_pixel))
    graph = plain_resample(plain_rotary(fold_alpha(merge_score_constants(graph))))
    graph = plain_activations(graph, inner_codes=form.inner_codes)
    graph = merge_movement(paired_norms(graph) if form.everywhere else graph).pruned()
    graph = few_axes(graph) if form.everywhere else graph
    return layers_in_parts(graph) if form.layers_in_parts else graph
