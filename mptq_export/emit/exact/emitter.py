"""A recipe as an ONNX file in the exact form: from the outputs back, by the tables of that form."""

import onnx

from mptq_export.capture.graph import Graph
from mptq_export.emit.annotate import annotate
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.quantizer import prove_quantizer
from mptq_export.emit.exact.tables import CARRIERS, TABLES
from mptq_export.emit.exact.weight_storage import STORAGES
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import InputType, WeightStorage


def emit(
    graph: Graph,
    recipe: Recipe,
    *,
    input_type: InputType,
    producer: str,
    storage: WeightStorage = "packed",
) -> onnx.ModelProto:
    """Emit a recipe as an ONNX model and fill the recipe's proof.

    Args:
        graph: the prepared graph that the recipe was made for.
        recipe: all decisions.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels).
        producer: version of this program.
        storage: `packed` (codes at their own width) or `int8`.

    Returns:
        A checked model with inferred shapes: input `input`, output `logits` or one a feature map, dynamic batch.

    Raises:
        MptqError: a layer cannot be proved exact, or an op has no integer form where it stands.
    """
    context = Context(graph, recipe, TABLES, input_type=input_type, store=STORAGES[storage])
    for key, site in context.sites.items():
        prove_quantizer(context.proof, site.node.name, key, recipe.activations[key])
    model = context.finish(producer)
    annotate(model, graph, recipe, CARRIERS)
    recipe.proof = context.proof.claims
    return model
