"""Does a file obey the rules of its target?"""

import onnx

from mptq_export.support.errors import MptqError
from mptq_export.targets.file.rule import Broken
from mptq_export.targets.file.table import FILE_RULES
from mptq_export.targets.file.view import FileView


def check_file(model: onnx.ModelProto, target: str) -> list[Broken]:
    """The rules of a target that a file breaks, in the order of the table.

    Args:
        model: the file, with inferred shapes.
        target: its name.
    """
    view, found = FileView(model), []
    for rule in FILE_RULES[target]:
        reasons = list(rule.broken(view))
        if reasons:
            found.append(Broken(rule.name, reasons[0], len(reasons)))
    return found


def refuse_broken(model: onnx.ModelProto, target: str) -> None:
    """Refuse a file that its target does not take.

    Raises:
        MptqError: it breaks a rule.
    """
    found = check_file(model, target)
    if found:
        first, more = found[0], f" (and {found[0].times - 1} more)" if found[0].times > 1 else ""
        raise MptqError(
            f"rule {first.rule!r} of --target {target}: {first.why}{more}; choose another --target, such as generic "
            "(docs/edge.md), or report the model"
        )
