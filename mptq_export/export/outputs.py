"""What an export writes: refused before any work where it cannot be written, or would overwrite what is needed."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mptq_export.allocate.request import check_timed
from mptq_export.allocate.search_terms import JOURNAL_SUFFIX
from mptq_export.dossier.folder import DOSSIER_FOLDER
from mptq_export.export.context import check_context
from mptq_export.export.plan import Picked, Plan, Replayed, Searched, Uniform
from mptq_export.kit.folder import KIT_FOLDER
from mptq_export.load.file.folder import files_of
from mptq_export.recipe.detector import Part
from mptq_export.recipe.settings import FileProfile, InputType, ProfileName, WeightStorage
from mptq_export.recipe.store import read_settings, recipe_paths, tensors_path
from mptq_export.report.paths import evidence_path, onnx_path_of, report_path, search_paths
from mptq_export.support.closed_sets import check_known
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable
from mptq_export.targets.min_onnxruntime import storage_in
from mptq_export.targets.rules import check_target, storage_for
from mptq_export.targets.table import portable_form

ProfileChoice = Literal["none"] | ProfileName
"""A profile, or none where a recipe has one."""


PROFILES: tuple[ProfileChoice, ...] = ("none", *get_args(ProfileName))
"""Every word of it."""


@dataclass(frozen=True)
class Outputs:
    """The file that is asked for, and what is written with it.

    Attributes:
        onnx: the ONNX file; recipe, report and what the report shows lie beside it.
        float_onnx: also write the float model here.
        one_file: of a detector, also write it as one file, with its float parts as ONNX ops.
        kit: also write a verification kit in this folder.
        dossier: also write a dossier of the file in this folder; of an exact one alone.
        context: in the kit, also prepare the file for this SoC of Qualcomm's, by its name or number.
        json: a file that the caller writes afterwards; it must not be one of the outputs.
        input_type: `float32` or `uint8`; None: float32, or the recipe's.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`; None: the recipe's or the target's.
        target: the runtime that the file is for, one of `targets.table.TARGETS`; None: `ort`, or the recipe's.
        min_ort: the oldest onnxruntime that shall open the file, such as `1.20`; None for no wish. Where packed weights
            would be too new for it, `weight_storage` becomes `int8`.
        profile: a way to write the exact form that leaves nothing implicit, or `none`; None: none, or the recipe's.
        batch: inputs that a file of a profile takes at once; None: 1, or the recipe's.
        force: replace existing files.
        first_stage: of a detector's head, the digest of the contents of the file that runs before it.

    Raises:
        MptqError: the input type or the weight storage is unknown.
    """

    onnx: Path
    float_onnx: Path | None = None
    one_file: bool = False
    kit: Path | None = None
    dossier: Path | None = None
    context: str | None = None
    json: Path | None = None
    input_type: InputType | None = None
    weight_storage: WeightStorage | None = None
    target: str | None = None
    min_ort: str | None = None
    profile: ProfileChoice | None = None
    batch: int | None = None
    force: bool = False
    first_stage: str | None = None

    def __post_init__(self) -> None:
        check_known("input_type", self.input_type, get_args(InputType))
        check_known("weight_storage", self.weight_storage, get_args(WeightStorage))
        check_known("profile", self.profile, PROFILES)

    @property
    def models(self) -> list[Path]:
        """The ONNX files."""
        return [self.onnx, *([self.float_onnx] if self.float_onnx else [])]

    @property
    def joined(self) -> Path:
        """The detector as one file."""
        return self.onnx.with_name(f"{self.onnx.stem}.one{self.onnx.suffix}")

    @property
    def front(self) -> Path:
        """All that a search found out."""
        return self.onnx.with_suffix(".search.json")

    def front_of(self, plan: Searched) -> Path | None:
        """Where the search of a plan is written.

        None where it lies already, under a name by which reports find it, or is not done.
        """
        if not isinstance(plan, Picked):
            return self.front
        if plan.file.suffix == JOURNAL_SUFFIX:
            return None
        labels = [budget.label for budget in plan.search.budgets]
        here = {path.resolve() for label in labels for path in search_paths(self.onnx, label)}
        return None if plan.file.resolve() in here else self.front

    @property
    def journal(self) -> Path:
        """The measurements of a search that is not done."""
        return self.onnx.with_suffix(".search.jsonl")

    @property
    def learned(self) -> Path:
        """The blocks that a reconstruction has learned so far: a folder."""
        return self.onnx.with_suffix(".learned")

    def journals(self, plan: Plan) -> list[Path]:
        """Where what an interrupted export has done is kept: what `--resume` goes on with."""
        searched = [self.journal] if isinstance(plan, Searched) else []
        learned = [] if isinstance(plan, Replayed) or not plan.reconstruct else self.of_each(plan)
        return searched + [each.learned for each in learned]

    def fitting(self, plan: Plan) -> "Outputs":
        """The same with weights stored in a form that runtime and plan allow.

        Raises:
            MptqError: the target or the oldest onnxruntime does not take the widths or the storage; there can be no
                context binary; or a file size is to be met where every width takes a byte.
        """
        self._check_profile(plan)
        spelled = self.profile == "sonnx" and not isinstance(plan, Replayed)  # a recipe knows what it had
        wished = self.weight_storage or ("int8" if spelled else None)
        storage = storage_in(self.min_ort, wished, plan.weight_bits)
        if self.target is not None or plan.residual_bits is not None or not isinstance(plan, Replayed):
            check_target(self.target or "ort", storage, plan.widths, plan.residual_bits)
        if self.min_ort is not None and portable_form(self.target) is not None:
            raise MptqError(f"--min-ort is about the exact form; leave it out with --target {self.target}")
        if self.dossier is not None:
            self._check_form(plan)
        if self.context is not None:
            check_context(self.context, self.kit, self.target, plan)
        if not isinstance(plan, Replayed) and plan.reconstruct and portable_form(self.target) is not None:
            raise MptqError(
                f"--reconstruct learns numbers of the exact form; --target {self.target} has another one: leave one out"
            )
        if isinstance(plan, Searched):
            check_timed(plan.search.budgets, self.target)
        sized = [each for each in plan.search.budgets if each.kind == "bytes"] if isinstance(plan, Searched) else []
        if sized and storage_for(self.target or "ort", storage) == "int8":
            raise MptqError(
                f"{sized[0].option} with a file size needs --weight-storage packed (and --min-ort 1.23, "
                "if any): with int8 all widths have one size"
            )
        return replace(self, weight_storage=storage)

    def profile_with(self, stored: FileProfile | None = None) -> FileProfile | None:
        """The profile of the file, where a recipe may have one already."""
        if self.profile == "none" or (self.profile is None and stored is None):
            return None
        return FileProfile("sonnx", self.batch or (1 if stored is None else stored.batch))

    def _check_profile(self, plan: Plan) -> None:
        """Refuse a profile that the file cannot have.

        Raises:
            MptqError: its target has another form, one file of a detector is asked for, or a batch without a profile.
        """
        if self.batch is not None and (
            self.profile == "none" or (self.profile is None and not isinstance(plan, Replayed))
        ):
            raise MptqError("--batch is that of a file of --profile sonnx; all others leave it free: leave it out")
        if self.batch is not None and self.batch < 1:
            raise MptqError(f"--batch {self.batch}: a file takes one input at least")
        if self.profile != "sonnx":
            return
        if portable_form(self.target) is not None:
            raise MptqError(
                f"--profile sonnx spells the exact form out, and --target {self.target} has another one: leave one out"
            )
        if self.one_file:
            raise MptqError(
                "--profile sonnx and --one-file exclude each other: a detector in one file is float between its "
                "networks; leave one out"
            )

    def of_each(self, plan: Plan) -> "list[Outputs]":
        """The outputs of every file that a plan gives: of a search with several budgets `NAME.BUDGET.onnx` each.

        Files that an interrupted search wrote may be replaced where it goes on.
        """
        if not isinstance(plan, Searched):
            return [self]
        budgets = plan.search.budgets
        found = [self] if len(budgets) == 1 else [self._of_budget(budget.label) for budget in budgets]
        return [
            replace(one, force=one.force or (plan.resume and _begun(one.onnx, budget.text)))
            for one, budget in zip(found, budgets, strict=True)
        ]

    def of_part(self, part: Part) -> "Outputs":
        """The outputs of a network of a detector's second stage: `NAME.PART.onnx` and so on. It takes no pixels."""

        def beside(path: Path | None) -> Path | None:
            return None if path is None else path.with_name(f"{path.stem}.{part}{path.suffix}")

        onnx = self.onnx.with_name(f"{self.onnx.stem}.{part}{self.onnx.suffix}")
        kit, dossier = (
            None if folder is None else folder.with_name(f"{folder.name}.{part}") for folder in (self.kit, self.dossier)
        )
        return replace(
            self,
            onnx=onnx,
            float_onnx=beside(self.float_onnx),
            one_file=False,
            kit=kit,
            dossier=dossier,
            input_type="float32",
        )

    def _of_budget(self, label: str) -> "Outputs":
        onnx = self.onnx.with_name(f"{self.onnx.stem}.{label}{self.onnx.suffix}")
        return replace(
            self, onnx=onnx, kit=self.kit and self.kit / label, dossier=self.dossier and self.dossier / label
        )

    def check(self, plan: Plan, model: str, *inputs: Path | None, parts: Sequence[Part] = ()) -> None:
        """Refuse outputs that cannot be written, are an input, or are one file twice.

        Args:
            plan: what gives the codes.
            model: the checkpoint.
            inputs: what else is read; None where there is none.
            parts: of a detector, whose files are written beside each.

        Raises:
            MptqError: it is so.
        """
        read = {path.resolve() for path in (*files_of(Path(model)), *inputs) if path is not None}
        recipes = (
            [plan.recipe, *(part_recipe(plan.recipe, part) for part in parts)] if isinstance(plan, Replayed) else []
        )
        stored = {path.resolve() for recipe in recipes for path in (recipe, tensors_path(recipe))}
        written: set[Path] = set()
        each = [one for whole in self.of_each(plan) for one in (whole, *map(whole.of_part, parts))]
        for one in each:
            written |= one._check_files(read, stored)
        if isinstance(plan, Searched) and (front := self.front_of(plan)) is not None:
            check_writable(front, force=self.force or plan.resume)
            written |= {front.resolve(), self.journal.resolve()}
        if not isinstance(plan, Replayed) and plan.reconstruct:
            for one in each:
                one._check_learned(plan)
        if self.json is not None and self.json.resolve() in read | stored | written:
            raise MptqError(f"--json {self.json} names the checkpoint, the recipe or an output; choose another file")
        for one in each:
            outside = (Path(model), *one.models, *([one.json] if one.json else []))
            if one.kit is not None:
                others = (*outside, *([one.dossier] if one.dossier else []))
                KIT_FOLDER.check(one.kit, force=one.force, outside=others)
            if one.dossier is not None:
                others = (*outside, *([one.kit] if one.kit else []))
                DOSSIER_FOLDER.check(one.dossier, force=one.force, outside=others)

    def _check_form(self, plan: Plan) -> None:
        """Refuse a dossier of a file that promises no bits.

        Raises:
            MptqError: the target, or the recipe, has another form than the exact one.
        """
        target = self.target
        if target is None and isinstance(plan, Replayed):
            with suppress(OSError, ValueError):  # a recipe that cannot be read is refused when it is
                target = read_settings(plan.recipe).target
        if portable_form(target) is not None:
            raise MptqError(
                f"--dossier argues that a file is exact, and no bits are promised of files for {target}; leave one out"
            )

    def _check_learned(self, plan: Uniform | Searched) -> None:
        """Refuse a journal of a reconstruction that is missing or would be lost."""
        begun = self.learned.exists()
        if isinstance(plan, Uniform) and plan.resume and not begun:
            raise MptqError(f"--resume: there is no journal {self.learned}; start --reconstruct without --resume")
        if begun and not plan.resume and not self.force:
            raise MptqError(
                f"{self.learned} is of an interrupted --reconstruct: go on with --resume, or start again with --force"
            )
        check_writable(self.learned / "block", force=True)

    def _check_files(self, read: set[Path], stored: set[Path]) -> set[Path]:
        """Refuse files of one export; gives their paths.

        Args:
            read: what is read.
            stored: the recipe that is replayed: its own name may be written again.
        """
        written: set[Path] = set()
        models = [*self.models, *([self.joined] if self.one_file else [])]
        for path in [*models, *recipe_paths(self.onnx), report_path(self.onnx), evidence_path(self.onnx)]:
            if path.resolve() in read | written | (stored if path in models else set()):
                raise MptqError(
                    f"cannot write {path}: the checkpoint, the recipe, another input or another output has that name; "
                    "choose another -o"
                )
            written.add(path.resolve())
            check_writable(path, force=self.force)
        return written


def part_recipe(recipe: Path, part: Part) -> Path:
    """The recipe of a network of a detector's second stage, beside that of the first."""
    onnx = onnx_path_of(recipe)
    return recipe_paths(onnx.with_name(f"{onnx.stem}.{part}{onnx.suffix}"))[0]


def _begun(path: Path, budget: str) -> bool:
    """Whether an interrupted search wrote the files of a budget, or none of them: then it may go on."""
    if not any(file.exists() for file in (path, *recipe_paths(path))):
        return True
    try:
        search = read_settings(recipe_paths(path)[0]).search
    except (OSError, ValueError):
        return False
    return search is not None and search.budget == budget
