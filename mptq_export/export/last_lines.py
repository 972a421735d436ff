"""The last lines after an export: how close the file is to its float model, what took how long, what comes next."""

import shlex
from collections.abc import Sequence

from mptq_export.recipe.store import recipe_paths
from mptq_export.report.evidence import Agreement, OutputCloseness
from mptq_export.report.result import ExportResult
from mptq_export.support.durations import duration
from mptq_export.support.time_left import TimeLeft
from mptq_export.verify.report import VerifyReport

#: Stages that are named with their time: those that take a share of all of it.
_NAMED, _SHARE = 4, 0.05


def closeness_row(result: ExportResult) -> dict[str, str]:
    """How close a file is to its float model, with its label; none where nothing was compared, as without images.

    Args:
        result: an export.
    """
    evidence = result.evidence
    if evidence is None:
        return {}
    if evidence.agreement is not None:
        return {"closeness": _of_classes(evidence.agreement)}
    found = [_of_output(each) for each in evidence.outputs]
    if not found:
        return {}
    first = evidence.outputs[0]
    return {"closeness": f"{', '.join(found)} on {first.images} images{_seen(first.source, first.calibrated)}"}


def _of_classes(found: Agreement) -> str:
    text = f"{found.same} of {found.images} images get the float model's class, mean KL {found.mean_kl:.4f} nats"
    return text + _seen(found.source, found.calibrated)


def _of_output(found: OutputCloseness) -> str:
    noise = "" if found.sqnr_db is None else f" ({found.sqnr_db:.1f} dB of signal to noise)"
    return f"{found.output} has cosine {found.cosine:.4f}{noise}"


def _seen(source: str, calibrated: int) -> str:
    """Whether the images were held back, which they have to be to say how others fare."""
    if _SYNTHETIC in source:
        return "; they are synthetic, so that real ones fare otherwise: measure with mptq-eval"
    if not calibrated:
        return "; none of them was calibrated on"
    return f"; {calibrated} of them were calibrated on, so that others fare worse: measure with mptq-eval"


#: In the description of images that were made up.
_SYNTHETIC = "synthetic"


def end_rows(results: Sequence[ExportResult], time: TimeLeft) -> dict[str, str]:
    """What is said once, after all files.

    Args:
        results: the files.
        time: of the command.
    """
    first, whole, taken = results[0], time.elapsed, time.taken
    longest = sorted((label for label in taken if taken[label] >= _SHARE * whole), key=lambda label: -taken[label])
    named = ", ".join(f"{label} {duration(taken[label])}" for label in longest[:_NAMED])
    rows = {"time": f"{duration(whole)}: {named}"}
    accuracy = shlex.join(["mptq-eval", str(first.onnx), "--data", "FOLDER", *first.loaded.asked.float_words()])
    if not isinstance(first.verification, VerifyReport):
        return rows | {"next": accuracy}
    proof = shlex.join(["mptq-verify", str(first.onnx), "--recipe", str(recipe_paths(first.onnx)[0])])
    return rows | {"next": proof, "then": accuracy}
