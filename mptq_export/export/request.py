"""What an export is asked for, as data; all that can be refused without torch is refused here."""

from dataclasses import dataclass, field, fields, is_dataclass

from mptq_export.allocate.request import SearchRequest, check_journal
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.given import Given
from mptq_export.data.reading import Reading
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.load.doors import check_asked
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class ExportRequest:
    """An export from a checkpoint.

    Attributes:
        model: the checkpoint.
        plan: where the codes come from.
        outputs: what is written.
        calibration: on what it is calibrated; a replayed recipe needs none.
    """

    model: ModelRequest
    plan: Plan
    outputs: Outputs
    calibration: CalibrationRequest = field(default_factory=CalibrationRequest)

    def check(self) -> None:
        """Refuse what a look at the disk shows.

        Raises:
            MptqError: an output cannot be written, or an input is not there or of another kind.
        """
        plan, outputs, calibration = self.plan, self.outputs, self.calibration
        searched = plan.file if isinstance(plan, Picked) else None
        outputs.fitting(plan).check(plan, self.model.name, calibration.images, calibration.class_map, searched)
        if isinstance(plan, Searched) and not isinstance(plan, Picked):
            check_journal(outputs.journal, resume=plan.resume, force=outputs.force, finished=outputs.front)
        check_asked(self.model)
        if isinstance(plan, Replayed):
            _check_recipe(plan)
        else:
            calibration.check()


def _check_recipe(plan: Replayed) -> None:
    if not plan.recipe.is_file():
        what = "is a folder" if plan.recipe.is_dir() else "does not exist"
        raise MptqError(
            f"cannot read the recipe {plan.recipe}: it {what}; name the .recipe.json beside an exported file"
        )


#: Parts of a request whose fields are said one by one; all other fields are one thing that is said.
_PARTS = (SearchRequest, Reading, Given)


def _told(kind: type) -> frozenset[str]:
    """Names of the fields of a dataclass, and in place of one that is a part of the request those of that."""
    assert is_dataclass(kind)
    inner = {each.name: each.type for each in fields(kind)}
    nested = [_told(held) for held in inner.values() if isinstance(held, type) and held in _PARTS]
    return frozenset(name for name, held in inner.items() if held not in _PARTS).union(*nested)


_CALIBRATING = (_told(CalibrationRequest) - _told(Given)) | {"features"}

#: What may be said with each plan, by the names of fields. What stands with no plan may be said with every one.
OPTIONS: dict[type[Plan], frozenset[str]] = {
    Uniform: _told(Uniform) | _CALIBRATING,
    Searched: _told(Searched) | _CALIBRATING,
    Picked: frozenset({"search_file", "picks", "reconstruct", "resume", "images", "device", "features"}),
    Replayed: _told(Replayed),
}
