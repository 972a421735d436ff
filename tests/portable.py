"""Portable files of small models, and each of their tensors beside the simulation."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import torch
from tiny_models import calibrated_graph

from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import MINMAX
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import InputType
from mptq_export.targets.rules import residual_bits
from mptq_export.targets.table import TARGETS
from mptq_export.transform.portable import portable_graph


@dataclass(frozen=True)
class Made:
    """A model in the portable form of a target.

    Attributes:
        graph: as its recipe was made for it, float32.
        recipe: all decisions.
        where: where the graph has codes.
        file: the ONNX model.
    """

    graph: Graph
    recipe: Recipe
    where: PortableSites
    file: onnx.ModelProto

    @property
    def simulation(self) -> PortableSimulator:
        """What the file shall compute."""
        return PortableSimulator.of(self.where, self.recipe)


def made_of(
    calibrated: CalibratedGraph,
    target: str,
    *,
    bits: tuple[int, int] = (8, 8),
    residual: int | None = None,
    input_type: InputType = "float32",
) -> Made:
    """A calibrated model for a target, with plain min/max ranges."""
    form = TARGETS[target].portable
    assert form is not None, target
    graph = portable_graph(calibrated.graph, input_type, form)
    portable = Portable(form, residual_bits(target, residual))
    found = CalibratedGraph(graph, calibrated.stats, calibrated.images)
    graph, recipe = build_recipe(found, lambda _layer: bits, MINMAX, form=portable)
    graph, where = graph.cast(torch.float32), portable.sites(graph, lambda _layer: bits)
    file = emit_portable(graph, recipe, where, input_type=input_type, producer="test")
    return Made(graph, recipe, where, file)


@cache
def made(kind: str, target: str, bits: tuple[int, int] = (8, 8), residual: int | None = None) -> Made:
    """The tiny model of a kind for a target."""
    return made_of(calibrated_graph(kind), target, bits=bits, residual=residual)


def as_written(file: onnx.ModelProto) -> ort.InferenceSession:
    """A session that runs a file node by node, without onnxruntime's own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])


def steps_apart(model: Made, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """How many steps each code of the file is away from the simulation, where both compute from the file's own values.

    Args:
        model: with codes on every tensor.
        image: float32 [1, C, H, W].

    Returns:
        By the name of every node whose codes stand in the file.
    """
    tensors = _coded_tensors(model)
    file = onnx.ModelProto()
    file.CopyFrom(model.file)
    known = {output.name for output in file.graph.output}
    more = [name for name in tensors.values() if name not in known]
    file.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in more)
    session = as_written(file)
    names = [output.name for output in session.get_outputs()]
    given = dict(zip(names, session.run(None, {"input": image.numpy()}), strict=True))
    convolved = {node.output[0] for node in file.graph.node if node.op_type == "Conv"}
    coded = {node.output[0]: node.input[0] for node in file.graph.node}
    simulation, apart = model.simulation, {}

    def beside(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        value = simulation.compute(node, inputs)
        if node.name not in tensors:
            return value
        tensor = tensors[node.name]
        found = torch.from_numpy(np.array(given[tensor]))
        if coded[coded[tensor]] in convolved:
            found = found.permute(0, 2, 3, 1)
        found = found.reshape(value.shape)
        step = model.recipe.activations[f"{node.name}.output"].scale
        apart[node.name] = ((found - value) / step).abs().round()
        return found

    with torch.no_grad():
        evaluate(model.graph, simulation._result(model.graph.input.name, image), compute_node=beside)
    return apart


def _coded_tensors(model: Made) -> dict[str, str]:
    """The tensor behind the codes of each value, by the name of the node that computes it."""
    behind = {f"{name}.output.value": name for name in model.graph.nodes}
    return {behind[node.name]: node.output[0] for node in model.file.graph.node if node.name in behind}
