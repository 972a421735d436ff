"""A context binary in the kit: what is refused of it before any work."""

from pathlib import Path

from mptq_export.export.plan import Plan, Replayed
from mptq_export.recipe.store import read_settings
from mptq_export.runtime.edge.opening import check_runtime
from mptq_export.runtime.edge.qnn_socs import soc_by_name
from mptq_export.support.errors import MptqError

#: The one target that has such files.
_TARGET = "qnn"


def check_context(soc: str, kit: Path | None, target: str | None, plan: Plan) -> None:
    """Refuse a context binary that could not be made, or has no place.

    Args:
        soc: what it is for, as the user names it.
        kit: the folder of the kit; None where none is asked for.
        target: of the file; None where none was asked for.
        plan: what gives the codes: a recipe says its target.

    Raises:
        MptqError: there is no kit, the file is for another runtime, the SoC is not known, or what makes it is not
            installed.
    """
    if kit is None:
        raise MptqError(f"--context {soc} goes with --kit DIR: the context binary lies in the kit")
    asked = target or _stored(plan)
    if asked is not None and asked != _TARGET:
        raise MptqError(f"--context {soc} is for Qualcomm's HTP; it goes with --target {_TARGET}, not {asked}")
    soc_by_name(soc)
    check_runtime(_TARGET)


def _stored(plan: Plan) -> str | None:
    """The target of a recipe; `ort` where codes are chosen anew. None of a recipe that cannot be read: said later."""
    if not isinstance(plan, Replayed):
        return "ort"
    try:
        return read_settings(plan.recipe).target or "ort"
    except (OSError, ValueError):
        return None
