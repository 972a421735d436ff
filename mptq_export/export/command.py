"""The command line that does an export again: a call from Python has one too."""

import shlex

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.load.request import ModelRequest

#: Stands for data that only a program had.
_GIVEN = "INPUTS.npy"


def command_of(model: ModelRequest, plan: Plan, outputs: Outputs, calibration: CalibrationRequest | None) -> str:
    """`mptq-export ...` with every option that is not at its default.

    Args:
        model: what was loaded.
        plan: where the codes come from.
        outputs: what was asked for; of several budgets, with the name that gives each file its own.
        calibration: what it was calibrated on; None for a replayed recipe.
    """
    words = ["mptq-export", model.name, *model.words()]
    if isinstance(plan, Replayed):
        words += ["--recipe", str(plan.recipe)]
    if isinstance(plan, Picked):
        words += _picked_words(plan, calibration, model.features)
    else:
        words += [] if calibration is None else _calibration_words(calibration, model.features)
        words += [] if isinstance(plan, Replayed) else _width_words(plan)
    options = {
        "--input": outputs.input_type,
        "--weight-storage": outputs.weight_storage,
        "--target": None if isinstance(plan, Picked) else outputs.target,
        "--min-ort": outputs.min_ort,
        "--profile": outputs.profile,
        "--batch": None if outputs.batch is None else str(outputs.batch),
    }
    for option, value in options.items():
        words += [option, value] if value else []
    words += ["--one-file"] if outputs.one_file else []
    line = shlex.join([*words, "-o", str(outputs.onnx)])
    only_in_python = []
    if calibration is not None and calibration.given.anything:
        only_in_python.append(f"{_GIVEN}: what calibrate(...) was given, as normalised inputs")
    if isinstance(plan, Searched) and callable(plan.search.metric):
        only_in_python.append("with the metric that allocate(...) was given")
    return f"{line}  # in Python: {'; '.join(only_in_python)}" if only_in_python else line


def _calibration_words(calibration: CalibrationRequest, features: tuple[int, ...] | None) -> list[str]:
    given = calibration.given.anything
    words = ["--calib", _GIVEN if given else str(calibration.images)] if given or calibration.images else []
    words += calibration.reading.options
    words += ["--class-map", str(calibration.class_map)] if calibration.class_map else []
    return [*words, *_features_words(features), "--count", str(calibration.count)]


def _features_words(features: tuple[int, ...] | None) -> list[str]:
    if features is None:
        return []
    return ["--features", *([",".join(map(str, features))] if features else [])]


def _picked_words(plan: Picked, calibration: CalibrationRequest | None, features: tuple[int, ...] | None) -> list[str]:
    """All else stands in the file of the search."""
    words = ["--search", str(plan.file), *(word for each in plan.search.budgets for word in ("--pick", each.text))]
    moved = calibration is not None and calibration.images != plan.terms.calibration.path
    words += ["--calib", str(calibration.images)] if calibration is not None and moved else []
    words += _features_words(features)
    return words + (["--reconstruct"] if plan.reconstruct else [])


def _width_words(plan: Uniform | Searched) -> list[str]:
    if isinstance(plan, Uniform):
        words, pins = ["--bits", "{}/{}".format(*plan.bits)], plan.pins
    else:
        search = plan.search
        words, pins = [word for budget in search.budgets for word in ("--mixed", budget.text)], search.pins
        words += ["--mixed-range", "{}-{}".format(*search.widths.ends)]
        words += ["--tied"] if search.tied else []
        words += ["--metric", search.metric] if isinstance(search.metric, str) else []
    for pattern, widths in pins.items():
        words += ["--pin", f"{pattern}={widths[0]}/{widths[1]}"]
    words += ["--method", plan.method]
    words += [] if plan.residual_bits is None else ["--residual-bits", str(plan.residual_bits)]
    return words + (["--reconstruct"] if plan.reconstruct else [])
