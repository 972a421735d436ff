"""What is asked for and the model or its inputs cannot give, refused before the long work."""

from pathlib import Path

from mptq_export.allocate.feasible import check_budgets_reachable, check_metric
from mptq_export.allocate.forms import search_form
from mptq_export.allocate.units import layers, pinned_widths
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Plan, Searched, Uniform
from mptq_export.export.rehearsal import rehearse
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.quantize.walk.room import memory_bound
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_file
from mptq_export.support.mapped import check_waiting


def check_weights(plan: Uniform | Searched, outputs: Outputs, loaded: LoadedModel) -> None:
    """Refuse a model whose quantized weights ONNX cannot hold.

    Raises:
        MptqError: the file would be larger than an ONNX file can be.
    """
    bits = 8 if outputs.weight_storage == "int8" else min(plan.weight_bits)
    check_file(str(outputs.onnx), loaded.parameters, bits, "use fewer bits for the weights")


def check_loaded(outputs: Outputs, plan: Plan, loaded: LoadedModel, *inputs: Path | None) -> None:
    """Refuse outputs that a model, or a network of a detector's second stage, cannot have.

    Args:
        outputs: of the whole, checked.
        plan: what gives the codes.
        loaded: the model.
        inputs: what is read besides; None where there is none.

    Raises:
        MptqError: a float companion would be larger than an ONNX file can be; a file of a network is there already,
            or an input has its name; or one file is asked for of what is no detector.
    """
    if outputs.one_file and loaded.detector is None:
        raise MptqError(
            f"--one-file is about detectors, and {loaded.asked.name} is none whose boxes can be described: it is one "
            "file already; leave the option out"
        )
    heads = {head.detector.part: head for head in loaded.heads if head.detector is not None}
    if heads:
        outputs.check(plan, loaded.asked.name, *inputs, parts=list(heads))
    for own, network in [(outputs, loaded), *((outputs.of_part(part), head) for part, head in heads.items())]:
        if own.float_onnx is not None:
            check_file(str(own.float_onnx), network.parameters, 32, "leave --float-onnx out")


def check_layers(plan: Uniform | Searched, outputs: Outputs, graph: Graph) -> None:
    """Refuse what a look at the layers shows, before the inputs run through them.

    Args:
        plan: where the codes come from.
        outputs: the files that are asked for, and the runtime that they are for.
        graph: prepared canonical graph.

    Raises:
        MptqError: the metric is none of such outputs, a pin matches no layer, a budget is below what the cheapest
            widths have, or the target takes no file of such layers.
    """
    form = form_for(outputs.target, plan.residual_bits)
    written = graph_for(form, graph, outputs.input_type)  # its layers have the widths
    if isinstance(plan, Searched):
        check_metric(plan.search, written)
        check_budgets_reachable(plan.search, written, search_form(form))
        pinned = pinned_widths(written, plan.search.pins)
        tried = [plan.search.widths.lowest, plan.search.widths.highest]
    else:
        pinned, tried = pinned_widths(written, plan.pins), [plan.bits]
    names = [node.name for node in layers(written)]
    for usual in tried:
        widths = dict.fromkeys(names, usual) | pinned
        rehearse(graph, outputs.target, widths.__getitem__, plan.residual_bits, outputs.input_type or "float32")


def check_calibrated(plan: Uniform | Searched, outputs: Outputs, calibrated: Calibrated) -> None:
    """Refuse what the calibration inputs do not give.

    Raises:
        MptqError: the file's input shall be pixels and the calibration inputs are none, or memory and disk are too
            small to quantize with so many.
    """
    if outputs.input_type == "uint8" and not calibrated.pixel_inputs:
        preprocessing = calibrated.loaded.preprocessing
        raise MptqError(
            f"{calibrated.source.description}: these are not 8-bit pixels normalised with mean "
            f"{preprocessing.mean} and std {preprocessing.std}; --input uint8 needs such inputs"
        )
    # The walk holds float32 values, and beside them the float64 ones of the float model where a method asks for it.
    method, device = METHODS[plan.method], calibrated.images.device
    needed = (12 if method.measures_inputs else 4) * len(calibrated.images) * calibrated.values_at_once
    if method.balanced_attention and device.type == "cpu":  # then all layers of a block get float64 weights
        needed += 8 * calibrated.loaded.parameters
    what = f"quantizing with {len(calibrated.images)} images"
    check_waiting(what, needed, "use fewer images (--count)", memory_bound(device))
