"""A recipe as an ONNX file in the portable form of a target."""

import onnx

from mptq_export.capture.graph import Graph
from mptq_export.emit.annotate import annotate
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.tables import TABLE
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import InputType


def emit_portable(
    graph: Graph, recipe: Recipe, where: PortableSites, *, input_type: InputType, producer: str
) -> onnx.ModelProto:
    """Emit a recipe as an ONNX model in the portable form.

    Args:
        graph: the graph that the recipe was made for, its transforms applied, float32.
        recipe: all decisions.
        where: where the graph has codes, and the form of the file.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels).
        producer: version of this program.

    Returns:
        A checked model with inferred shapes, with fixed shapes where the form says so.

    Raises:
        MptqError: an op has no spelling in this form.
    """
    model = PortableContext(graph, recipe, where, TABLE, input_type=input_type).finish(producer)
    annotate(model, graph, recipe, {})
    return model
