"""Where the codes of an export come from: a closed set of plans. What a plan can be told are its fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_terms import SearchTerms, parse_picks, read_terms
from mptq_export.quantize.method import METHODS
from mptq_export.recipe.schema import WIDE, WIDTHS
from mptq_export.recipe.settings import InputType, MethodName
from mptq_export.report.paths import searched_path
from mptq_export.support.closed_sets import check_known
from mptq_export.support.errors import MptqError
from mptq_export.targets.table import portable_form

Widths = tuple[int, int]
"""Bits of (weights, activations)."""


@dataclass(frozen=True)
class Uniform:
    """Calibrate, and quantize all layers at one pair of widths.

    Attributes:
        bits: (weights, activations).
        pins: other widths for some layers, by shell pattern of their names; later patterns win.
        method: which techniques are used.
        reconstruct: afterwards learn rounding, scales and ranges of every block by gradient descent.
        resume: go on with the journal of an interrupted reconstruction.
        residual_bits: width of the residual in the portable form; None: the best that the target has.

    Raises:
        MptqError: a width is not from 2 to 8, the method is unknown, or there is nothing to go on with.
    """

    bits: Widths = (8, 8)
    pins: Mapping[str, Widths] = field(default_factory=dict)
    method: MethodName = "best"
    reconstruct: bool = False
    resume: bool = False
    residual_bits: int | None = None

    def __post_init__(self) -> None:
        _check_widths({"bits": self.bits, **self.pins})
        check_known("method", self.method, METHODS)
        if self.resume and not self.reconstruct:
            raise MptqError("--resume goes on with a search (--mixed) or with --reconstruct; neither is asked for")

    def without_pins(self) -> "Uniform":
        """The same for a part of a model, of which pins may name no layer."""
        return replace(self, pins={})

    @property
    def widths(self) -> list[Widths]:
        """Pairs that layers will have."""
        return [self.bits, *self.pins.values()]

    @property
    def weight_bits(self) -> set[int]:
        """Bits that weights may have."""
        return {weights for weights, _ in self.widths}


@dataclass(frozen=True)
class Searched:
    """Calibrate, search a width for every layer under each budget, and quantize at what was found.

    Attributes:
        search: budgets, range, pins.
        method: which techniques are used.
        reconstruct: afterwards learn rounding, scales and ranges of every block by gradient descent.
        resume: go on with the journals of an interrupted search and reconstruction.
        residual_bits: width of the residual in the portable form; None: the best that the target has.

    Raises:
        MptqError: a pinned width is not from 2 to 8, the method is unknown, or the budgets do not go together.
    """

    search: SearchRequest
    method: MethodName = "best"
    reconstruct: bool = False
    resume: bool = False
    residual_bits: int | None = None

    def __post_init__(self) -> None:
        _check_widths(self.search.pins)
        check_known("method", self.method, METHODS)
        self.search.check()

    def without_pins(self) -> "Searched":
        """The same for a part of a model, of which pins may name no layer."""
        return replace(self, search=replace(self.search, pins={}))

    @property
    def widths(self) -> list[Widths]:
        """Pairs that layers will have: a file size is met by weights alone, a latency by activations."""
        low, high = self.search.widths.lowest, self.search.widths.highest
        lowest = {"bytes": (low[0], high[1]), "latency": (high[0], low[1])}
        return [*self.search.pins.values(), *(lowest.get(budget.kind, low) for budget in self.search.budgets)]

    @property
    def weight_bits(self) -> set[int]:
        """Bits that weights may have."""
        return {*self.search.widths.weights, *(weights for weights, _ in self.search.pins.values())}


@dataclass(frozen=True, kw_only=True)
class Picked(Searched):
    """Calibrate, and quantize at the widths that a stored search has for each budget: nothing is searched.

    Attributes:
        file: the search.
        terms: what it says of itself.

    Raises:
        MptqError: there is nothing to go on with, or a budget is outside the range of the search.
    """

    file: Path
    terms: SearchTerms

    @staticmethod
    def of(file: Path, budgets: Sequence[str], *, reconstruct: bool = False, resume: bool = False) -> "Picked":
        """The plan of some budgets.

        Args:
            file: the search.
            budgets: as the user wrote them.
            reconstruct: afterwards learn rounding, scales and ranges.
            resume: go on with an interrupted reconstruction.

        Raises:
            MptqError: the file holds no search, there is no budget, or one cannot be read or is outside the range.
        """
        terms = read_terms(file)
        if not budgets:
            raise MptqError(
                f"--search {file} is asked with --pick BUDGET, such as --pick 4.5 or --pick 3MB; which one?"
            )
        search = terms.request(parse_picks(budgets, terms))
        return Picked(search, terms.method, reconstruct, resume, terms.residual_bits, file=file, terms=terms)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and not self.reconstruct:
            raise MptqError("--resume goes on with --reconstruct here: a --pick searches nothing; leave it out")

    @property
    def output(self) -> Path:
        """The file that is written if nothing else is said: beside the search, named by the budget.

        Of several budgets the name that gives each file its own.
        """
        found, budgets = searched_path(self.file), self.search.budgets
        return found if len(budgets) > 1 else found.with_name(f"{found.stem}.{budgets[0].label}{found.suffix}")

    def aimed(self, target: str | None, input_type: InputType | None) -> tuple[str | None, InputType | None]:
        """Target and input type of the search.

        Args:
            target: that is asked for now; None: whatever it was.
            input_type: the same. In the exact form it is free, for it decides no widths.

        Raises:
            MptqError: another one is asked for than was searched for.
        """
        terms = self.terms
        if target not in (None, terms.target or "ort"):
            raise MptqError(
                f"--search {self.file} was made for --target {terms.target or 'ort'}, not {target}; leave --target "
                f"out, or search with --mixed and --target {target}"
            )
        if portable_form(terms.target) is None:
            return terms.target, input_type
        searched = terms.input_type or "float32"
        if input_type not in (None, searched):
            raise MptqError(
                f"--search {self.file} was made with --input {searched}, whose codes it measured; leave --input "
                f"out, or search with --mixed and --input {input_type}"
            )
        return terms.target, terms.input_type


@dataclass(frozen=True)
class Replayed:
    """Take the codes of a stored recipe; nothing is calibrated or chosen again.

    Attributes:
        recipe: the `.recipe.json` of the same model.
    """

    recipe: Path

    @property
    def residual_bits(self) -> None:
        """That of the recipe."""
        return None

    @property
    def widths(self) -> list[Widths]:
        """None are known before the recipe is read."""
        return []

    @property
    def weight_bits(self) -> set[int]:
        """None are known before the recipe is read."""
        return set()


Plan = Uniform | Searched | Picked | Replayed


def _check_widths(named: Mapping[str, Widths]) -> None:
    for name, widths in named.items():
        if len(widths) != 2 or widths[0] not in WIDTHS or widths[1] not in (*WIDTHS, WIDE):
            raise MptqError(f"{name}: {widths} is not (weights, activations) with both widths from 2 to 8")
