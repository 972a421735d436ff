"""A prepared graph as the portable form has it: the same function, in ops that runtimes know."""

from mptq_export.capture.graph import Graph
from mptq_export.recipe.settings import InputType
from mptq_export.transform.fold_alpha import fold_alpha
from mptq_export.transform.pixel_input import pixel_input
from mptq_export.transform.plain_norms import plain_norms


def portable_graph(graph: Graph, input_type: InputType, *, signed: bool) -> Graph:
    """Rewrite a prepared graph for the portable form.

    Args:
        graph: as `transform.prepare.prepare` gives it.
        input_type: what the file takes.
        signed: whether codes of activations are signed.

    Preserves: the output.
    """
    return fold_alpha(plain_norms(pixel_input(graph, input_type, middle=128 if signed else 0)))
