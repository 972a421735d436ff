"""Does a file obey a profile? It is read alone: nothing is run, and who wrote it does not matter."""

from collections.abc import Iterable

import onnx

from mptq_export.profile.exceptions import EXCEPTIONS
from mptq_export.profile.report import ProfileReport, RuleReport
from mptq_export.profile.rule import Finding, ProfileException, ProfileRule
from mptq_export.profile.table import RULES, VALID
from mptq_export.profile.view import ProfileView
from mptq_export.support.errors import MptqError

#: What the onnx package raises of a model that is none.
_INVALID = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, TypeError)


def check_profile(model: onnx.ModelProto, external: Iterable[str] = ()) -> ProfileReport:
    """Hold a file against the rules of `sonnx`.

    Args:
        model: the file, with its tensors in memory.
        external: names of the tensors that it keeps in other files.

    Returns:
        What was found: of a file that is not valid ONNX only that.
    """
    nodes = len(model.graph.node)
    try:
        onnx.checker.check_model(model, full_check=True)
        view = ProfileView(model, external)
    except _INVALID as error:
        why = " ".join(str(error).split())[:300]
        return ProfileReport("", "sonnx", nodes, (RuleReport(VALID, (Finding("the file", why),), ()),))
    return ProfileReport("", "sonnx", nodes, tuple(_look(rule, view) for rule in RULES))


def refuse_broken_profile(model: onnx.ModelProto) -> ProfileReport:
    """Refuse a file that was to be of the profile and is not; gives the report of one that is.

    Raises:
        MptqError: it breaks a rule, and that is no exception.
    """
    report = check_profile(model)
    for found in report.broken:
        first, more = found.broken[0], f" (and {len(found.broken) - 1} more)" if len(found.broken) > 1 else ""
        raise MptqError(
            f"rule {found.rule.name} of --profile sonnx ({found.rule.says}): {first.place}: {first.why}{more}; leave "
            "--profile out, or report the model"
        )
    return report


def _look(rule: ProfileRule, view: ProfileView) -> RuleReport:
    broken: list[Finding] = []
    excepted: list[tuple[ProfileException, Finding]] = []
    for finding in rule.broken(view):
        exception = _exception(rule, finding, view)
        if exception is None:
            broken.append(finding)
        else:
            excepted.append((exception, finding))
    return RuleReport(rule, tuple(broken), tuple(excepted))


def _exception(rule: ProfileRule, finding: Finding, view: ProfileView) -> ProfileException | None:
    node = finding.node
    if node is None:
        return None
    return next((each for each in EXCEPTIONS if each.rule == rule.name and each.covers(view, node)), None)
