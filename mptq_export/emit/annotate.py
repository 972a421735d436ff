"""Doc strings of quantised layers: what a person sees who opens the file in a viewer such as Netron.

They hold the recipe's own words only, so that the same recipe gives the same bytes.
"""

from collections.abc import Iterator, Mapping

import onnx

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Op
from mptq_export.recipe.describe import describe_activation, describe_sq_b, describe_weight
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.store import layer_bits


def annotate(
    model: onnx.ModelProto, graph: Graph, recipe: Recipe, carriers: Mapping[type[Op], tuple[str, ...]]
) -> None:
    """Write the doc string of every quantised layer, and of every layer norm with or without SQ-b.

    Args:
        model: emitted from the recipe.
        graph: the prepared graph that the recipe was made for.
        recipe: all decisions.
        carriers: the ONNX node of a layer that carries its doc string, by what follows the layer's name: the first that
            is there. Of ops that are not named, it is the node that bears the bare name.
    """
    nodes = {node.name: node for node in model.graph.node}
    for layer, lines in _texts(graph, recipe):
        names = (layer.name + end for end in carriers.get(type(layer.op), ("",)))
        target = next((nodes[name] for name in names if name in nodes), None)
        if target is not None:  # equal layers share their nodes
            target.doc_string = "\n".join(lines).encode(errors="replace").decode()


def _texts(graph: Graph, recipe: Recipe) -> Iterator[tuple[Node, list[str]]]:
    operands: dict[str, list[str]] = {}
    for key, quant in recipe.activations.items():
        layer, _, operand = key.rpartition(".")
        operands.setdefault(layer, []).append(f"{operand}: {describe_activation(quant)}; {quant.reason}")
    for layer, bits in layer_bits(recipe).items():
        node, lines = graph[layer], [f"{layer}: {bits} bits (weights/activations)"]
        weight = recipe.weights.get(layer)
        if weight is not None:
            lines.append(f"weights: {describe_weight(weight)}; {weight.reason}")
        lines += operands[layer]
        norm = graph.root(node.inputs[0]).name if weight is not None else ""
        if norm in recipe.sq_b:
            lines.append(f"reads {norm}: {describe_sq_b(recipe.sq_b[norm])}")
        yield node, lines
    for name, sq_b in recipe.sq_b.items():
        yield graph[name], [f"{name}: {describe_sq_b(sq_b)}; {sq_b.reason}"]
