"""The form of the file that a target gets, as a walk sees it, and a prepared graph as that form has it."""

from mptq_export.capture.graph import Graph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form
from mptq_export.quantize.portable.form import Portable
from mptq_export.recipe.settings import InputType
from mptq_export.targets.rules import residual_bits
from mptq_export.targets.table import portable_form
from mptq_export.transform.portable import portable_graph


def form_for(target: str | None, residual: int | None) -> Form:
    """The form of a target's files.

    Args:
        target: None is `ort`.
        residual: width of the residual that was asked for; None: the best that the target has.
    """
    portable = portable_form(target)
    return EXACT if portable is None else Portable(portable, residual_bits(target, residual))


def graph_for(form: Form, graph: Graph, input_type: InputType | None) -> Graph:
    """A prepared graph as a form has it, on its own device; it is rewritten on the CPU, where constants are made."""
    if not isinstance(form, Portable):
        return graph
    tensors = [tensor for node in graph for tensor in node.params.values()]
    device = tensors[0].device if tensors else "cpu"
    return portable_graph(graph.to("cpu"), input_type or "float32", form.form).to(device)
