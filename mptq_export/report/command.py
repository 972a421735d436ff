"""The command line of an export, from what was asked for: a call from Python has one too."""

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mptq_export.allocate.request import MixedSettings
    from mptq_export.export.request import ExportRequest


def command_of(request: "ExportRequest", mixed: "MixedSettings | None" = None) -> str:
    """`mptq-export ...` with every option that is not at its default.

    Args:
        request: what to export.
        mixed: the search, where there was one; `request.out` is then the name that was asked for.
    """
    words: list[str] = ["mptq-export", request.model]
    if request.arch:
        words += ["--arch", request.arch]
    if request.model_kwargs:
        words += ["--model-kwargs", json.dumps(request.model_kwargs)]
    words += request.inputs.words()
    if request.recipe is not None:
        words += ["--recipe", str(request.recipe)]
    else:
        words += _quantizing(request, mixed)
    options = {
        "--input": request.input_type,
        "--weight-storage": request.weight_storage,
        "--target": request.target,
        "--min-ort": request.min_ort,
    }
    for option, value in options.items():
        words += [option, value] if value else []
    if request.trust:
        words.append("--trust")
    return shlex.join([*words, "-o", str(request.out)])


def _quantizing(request: "ExportRequest", mixed: "MixedSettings | None") -> list[str]:
    """What a recipe would answer."""
    words: list[str] = ["--calib", str(request.calib)] if request.calib else []
    words += request.reading.options
    words += ["--class-map", str(request.class_map)] if request.class_map else []
    if request.features is not None:
        words += ["--features", *([",".join(map(str, request.features))] if request.features else [])]
    words += ["--count", str(request.count)]
    if mixed is None:
        words += ["--bits", "{}/{}".format(*request.bits)]
    else:
        for budget in mixed.budgets:
            words += ["--mixed", budget.text]
        words += ["--mixed-range", f"{mixed.widths[0]}-{mixed.widths[-1]}"]
        words += ["--tied"] if mixed.tied else []
    for pattern, widths in request.pins.items():
        words += ["--pin", f"{pattern}={widths[0]}/{widths[1]}"]
    words += ["--method", request.method]
    return words + (["--reconstruct"] if request.reconstruct else [])
