"""What a search of widths is asked for, and what is refused before anything heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mptq_export.allocate.budget import Budget, check_budgets
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.recipe.metric import Metric, MetricName
from mptq_export.support.closed_sets import check_known
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable
from mptq_export.targets.table import portable_form


@dataclass(frozen=True)
class SearchRequest:
    """How to search.

    Attributes:
        budgets: one result each.
        widths: those that are tried.
        tied: weights and activations of a layer move together.
        pins: (weights, activations) by shell pattern of layer names; later patterns win.
        metric: what is kept small (see `recipe.metric`); None takes what belongs to the kind of each output.

    Raises:
        MptqError: the metric is unknown.
    """

    budgets: tuple[Budget, ...]
    widths: WidthDomain
    tied: bool
    pins: dict[str, tuple[int, int]]
    metric: Metric | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and not callable(self.metric):
            check_known("metric", self.metric, get_args(MetricName))

    @property
    def closed_form(self) -> MetricName | None:
        """The metric where it has a second derivative."""
        return self.metric if isinstance(self.metric, str) else None

    def check(self) -> None:
        """Refuse budgets that are one twice, or that no width of the range meets.

        Raises:
            MptqError: there is none, one is named twice, or one is outside the range; or
            weights and activations shall move together that have other widths to choose from.
        """
        if self.tied and not self.widths.alike:
            raise MptqError(
                f"--tied moves weights and activations of a layer together, and here they have other widths "
                f"({self.widths}); leave --tied out"
            )
        check_budgets(self.budgets, self.widths, self.pins)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever asks should know of the budgets: `check_timed` leaves those of time in onnxruntime alone."""
        timed = [f"{budget.option} {budget.text}" for budget in self.budgets if budget.kind == "latency"]
        if not timed:
            return ()
        return (
            f"{' '.join(timed)}: fewer bits do not run faster in onnxruntime on a CPU, whose kernels compute in 8 bits "
            "whatever the codes have; they save bytes, and a file size such as --mixed 12MB bounds these",
        )


def check_timed(budgets: Sequence[Budget], target: str | None) -> None:
    """Refuse budgets of time where what is measured here says nothing of the target.

    Raises:
        MptqError: one is of time, and files of the target's form run elsewhere.
    """
    for budget in budgets:
        if budget.kind == "latency" and portable_form(target) is not None:
            raise MptqError(
                f"{budget.option} {budget.text} with --target {target}: a latency would be that of onnxruntime on this "
                "CPU, which says nothing of that runtime; give bit operations, such as 75% (of those at 8/8), a mean "
                "width or a file size"
            )


def check_journal(path: Path, *, resume: bool, force: bool, finished: Path | None = None) -> None:
    """Refuse early a journal that is missing, that would be lost, or that cannot be written.

    Args:
        path: the file.
        resume: whether the search goes on from it.
        force: whether one that is there may be replaced.
        finished: what the search wrote when it was done, from which it goes on too; None where it writes nothing.

    Raises:
        MptqError: it is so.
    """
    if resume and not path.exists() and not (finished is not None and finished.exists()):
        raise MptqError(f"--resume: there is no journal {path}; start the search without --resume")
    if not resume and not force and path.exists():
        raise MptqError(f"{path} is of an interrupted search: go on with --resume, or start again with --force")
    check_writable(path, force=True)
