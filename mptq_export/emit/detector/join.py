"""A detector's networks and what is float by nature as one ONNX graph: a picture's input in, detections out.

Every node and constant of the networks is taken over as it is, under a name with its part in front.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, compose, helper

from mptq_export.detect.layout import output_shapes
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.detector.found import Found
from mptq_export.emit.detector.masks import paste
from mptq_export.emit.detector.one_stage import one_stage
from mptq_export.emit.detector.ops import FLOAT, INT64, Ops
from mptq_export.emit.detector.placement import inside, to_picture
from mptq_export.emit.detector.set_prediction import set_prediction
from mptq_export.emit.detector.two_stages import box_results, proposals, run_box_head, run_mask_head
from mptq_export.recipe.detector import Detector, Part
from mptq_export.support.errors import MptqError
from mptq_export.support.version import __version__

SIZE = "size"
"""The second input: int64 (height, width) of the picture, before it was resized."""

_OLDEST_OPSET = 16  # of RoiAlign as it is used here

_Run = Callable[[Part, str], dict[str, str]]


@dataclass(frozen=True)
class Joint:
    """Where a network and the glue meet.

    Attributes:
        given: the tensor that is the part's input.
        outputs: tensors that are the outputs that the glue reads, by the names in its own file.
    """

    given: str
    outputs: dict[str, str]


@dataclass(frozen=True)
class Joined:
    """One graph.

    Attributes:
        model: without metadata.
        joints: of each part.
    """

    model: onnx.ModelProto
    joints: dict[Part, Joint]


def join(detector: Detector, models: Mapping[Part, onnx.ModelProto], *, keeps_sides: bool) -> Joined:
    """One graph of a detector, for a batch of one.

    Args:
        detector: its description, of the first file.
        models: of its files.
        keeps_sides: whether a picture lies in the top left corner with its sides in proportion, or all over the input.

    Raises:
        MptqError: the files have different opsets, or an old one.
    """
    builder = OnnxBuilder(_opset(models), max(model.ir_version for model in models.values()))
    op, joints = Ops(builder), dict[Part, Joint]()

    def run(part: Part, given: str) -> dict[str, str]:
        outputs = _take_over(builder, part, models[part], given)
        read = output_shapes(replace(detector, part=part))  # what nobody reads is left out of the graph
        joints[part] = Joint(given, {name: outputs[name] for name in read})
        return joints[part].outputs

    image = onnx.ValueInfoProto()
    image.CopyFrom(_input(models[detector.part]))
    image.type.tensor_type.shape.dim[0].dim_value = 1
    builder.reserve([image.name, SIZE, "boxes", "scores", "labels", "masks"])
    covered = inside(op, SIZE, detector.image, keeps_sides=keeps_sides)
    found, small = _found(op, detector, covered, run, image.name)
    boxes = to_picture(op, found.boxes, covered, SIZE)
    results: list[tuple[str, str, int, list[str | int]]] = [
        (boxes, "boxes", FLOAT, [4]),
        (found.scores, "scores", FLOAT, []),
        (found.labels, "labels", INT64, []),
    ]
    if small is not None:
        side = models["mask"].graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        results.append((paste(op, small, boxes, SIZE, side), "masks", TensorProto.BOOL, ["height", "width"]))
    for tensor, name, _, _ in results:
        builder.rename_output(tensor, name)
    given = [image, helper.make_tensor_value_info(SIZE, INT64, [2])]
    outputs = [helper.make_tensor_value_info(name, kind, ["found", *rest]) for _, name, kind, rest in results]
    return Joined(builder.model(given, outputs, __version__), joints)


def _found(op: Ops, detector: Detector, covered: str, run: _Run, image: str) -> tuple[Found, str | None]:
    """What is found in the input, and small masks of it."""
    outputs = run(detector.part, image)
    if detector.family == "set":
        return set_prediction(op, detector, outputs), None
    if detector.regions is None:
        return one_stage(op, detector, outputs, covered), None
    begin = "features."
    features = {name.removeprefix(begin): value for name, value in outputs.items() if name.startswith(begin)}
    boxes = proposals(op, detector, outputs, covered)
    scored = run_box_head(op, detector, features, boxes, lambda regions: run("box", regions))
    found = box_results(op, detector, scored, boxes, covered)
    if detector.regions.mask_pooling is None:
        return found, None
    return found, run_mask_head(op, detector, features, found, lambda regions: run("mask", regions))


def _take_over(builder: OnnxBuilder, part: Part, model: onnx.ModelProto, given: str) -> dict[str, str]:
    """Add a network that reads a tensor: its outputs by their names in the file."""
    own = _input(model).name
    graph = compose.add_prefix(model, f"{part}.").graph
    for node in graph.node:
        for number, name in enumerate(node.input):
            if name == f"{part}.{own}":
                node.input[number] = given
    builder.nodes.extend(graph.node)
    builder.initializers.update({tensor.name: tensor for tensor in graph.initializer})
    return {entry.name: f"{part}.{entry.name}" for entry in model.graph.output}


def _input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    entries: list[onnx.ValueInfoProto] = [entry for entry in model.graph.input if entry.name not in constants]
    return entries[0]


def _opset(models: Mapping[Part, onnx.ModelProto]) -> int:
    opsets: set[int] = {entry.version for model in models.values() for entry in model.opset_import if not entry.domain}
    if len(opsets) != 1 or min(opsets) < _OLDEST_OPSET:
        raise MptqError(
            f"the files of the detector have opset {' and '.join(map(str, sorted(opsets)))}, and one file needs one, "
            f"{_OLDEST_OPSET} or later; export them again together"
        )
    return opsets.pop()
