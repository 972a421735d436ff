"""The trade-off of a search of widths, its budgets to choose from, and the points that became files."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.allocate.budget import budget_label
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.settings import Settings, Solver
from mptq_export.recipe.store import read_settings
from mptq_export.report.paths import search_paths
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import load_json
from mptq_export.support.typed_json import from_json

#: Points beyond them are damage.
_WIDEST, _FARTHEST = 32, 1e12


@dataclass(frozen=True)
class Point:
    """One accepted step of the search.

    Attributes:
        mean_weight_bits: by parameters.
        mean_activation_bits: by multiply-accumulates.
        divergence: mean divergence of the outputs on the search images, with the search's quantizers.
    """

    mean_weight_bits: float
    mean_activation_bits: float
    divergence: float

    def __post_init__(self) -> None:
        widths = (self.mean_weight_bits, self.mean_activation_bits)
        if not all(0 <= width <= _WIDEST for width in widths) or abs(self.divergence) > _FARTHEST:
            raise ValueError("a point of a search that cannot be")

    @property
    def mean_bits(self) -> float:
        """The mean of both."""
        return (self.mean_weight_bits + self.mean_activation_bits) / 2


@dataclass(frozen=True)
class Offered(Point):
    """A budget that the search measured: `--pick` writes it.

    Attributes:
        budget: as `--pick` takes it.
        solver: what found it.
        gbops: 1e9 multiply-accumulate-bits of an image.
        file_bytes: estimated size of the file; None where sizes were not measured.
        latency_ms: estimated time of an image; None where times were not measured.
    """

    budget: str
    solver: Solver
    gbops: float
    file_bytes: float | None
    latency_ms: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(abs(value) > _FARTHEST for value in (self.gbops, self.file_bytes or 0, self.latency_ms or 0)):
            raise ValueError("a budget of a search that cannot be")


@dataclass(frozen=True)
class Chosen:
    """A point that became a file.

    Attributes:
        name: of the ONNX file.
        budget: as it was asked for.
        solver: what found it.
        point: where it lies.
    """

    name: str
    budget: str
    solver: Solver
    point: Point


@dataclass(frozen=True)
class Front:
    """A search.

    Attributes:
        steps: accepted steps, from wide to narrow.
        chosen: all files of the search that are still there, the report's own first.
        offered: budgets that the search measured, from wide to narrow.
        name: of the file of the search.
    """

    steps: tuple[Point, ...]
    chosen: tuple[Chosen, ...]
    offered: tuple[Offered, ...] = ()
    name: str = ""

    @property
    def points(self) -> tuple[Point, ...]:
        """All steps, and the points that became files."""
        return (*self.steps, *(chosen.point for chosen in self.chosen))

    @property
    def best(self) -> tuple[Point, ...]:
        """The points that no other one beats in both width and divergence, by rising width."""
        found: list[Point] = []
        for point in sorted(self.points, key=lambda p: (p.mean_bits, p.divergence)):
            if not found or point.divergence < found[-1].divergence:
                found.append(point)
        return tuple(found)


def read_front(onnx_path: Path, recipe: ExportRecipe) -> Front | None:
    """Read the search that gave an export.

    Returns:
        None where there was no search, or its file is missing.

    Raises:
        MptqError: a file is damaged.
    """
    own = _chosen(onnx_path.name, recipe.settings)
    if own is None:
        return None
    found = next((path for path in search_paths(onnx_path, budget_label(own.budget)) if path.is_file()), None)
    if found is None:
        return None
    try:
        stored = load_json(found)
        if not isinstance(stored, dict):
            raise ValueError("it is of an older version, or something else")
        steps = from_json(tuple[Point, ...], stored.get("steps"), "steps")
        offered = from_json(tuple[Offered, ...], stored.get("rungs"), "rungs")
    except (OSError, ValueError) as error:
        raise MptqError(f"{found.name} is damaged ({error})") from error
    base = found.name.removesuffix(".search.json")
    others = (_sibling(path) for path in sorted(found.parent.glob("*.recipe.json")) if path.name.startswith(f"{base}."))
    chosen = (own, *(other for other in others if other is not None and other.name != own.name))
    return Front(steps, chosen, offered, found.name)


def _sibling(recipe_path: Path) -> Chosen | None:
    """The point of another recipe; None where it is of no search, or unreadable: it is not what was asked for."""
    try:
        settings = read_settings(recipe_path)
        return _chosen(recipe_path.name.removesuffix(".recipe.json") + ".onnx", settings)
    except (OSError, ValueError, MptqError):
        return None


def _chosen(name: str, settings: Settings) -> Chosen | None:
    search = settings.search
    if search is None:
        return None
    try:
        divergence = search.divergence.get(search.solver)
        if divergence is None:
            raise ValueError("no divergence")
        return Chosen(name, search.budget, search.solver, Point(*search.mean_bits, divergence))
    except ValueError as error:
        raise MptqError(f"{name}: the recipe does not hold its search as it should ({error})") from error
