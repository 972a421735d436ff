"""Writing tables into the marked regions of pages."""

import re
from collections.abc import Callable, Mapping

from tools.figures import (
    accuracy,
    cost,
    embeddings,
    exactness,
    floor,
    large,
    latency,
    low_bits,
    mixed,
    search_gpus,
    without_images,
)
from tools.figures.adopted import ADOPTED, AdoptedTable
from tools.figures.adopted import caption as adopted_caption
from tools.figures.latency import SHAPES
from tools.figures.models import REPO, title_of
from tools.figures.others import hard_markdown, small_markdown
from tools.figures.readme import readme_table
from tools.figures.table import Document

Documents = Mapping[str, Document]

#: What holds regions: ``<!-- figures: NAME -->`` to ``<!-- end of figures -->``.
PAGES = (REPO / "docs" / "benchmarks.md", REPO / "docs" / "edge.md", REPO / "README.md")
_REGION = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
_NAMED = ("onnxruntime", "torch", "timm")
_MISSING = "*Not measured yet.*"


def _of(name: str, markdown: Callable[[Document], str]) -> Callable[[Documents], str]:
    def region(documents: Documents) -> str:
        found = documents.get(name)
        return _MISSING if found is None else f"{markdown(found)}\n\n{caption(found)}"

    return region


def _adopted(table: AdoptedTable) -> Callable[[Documents], str]:
    def region(documents: Documents) -> str:
        found = documents.get(table.name)
        return _MISSING if found is None else f"{table.markdown(found)}\n\n{adopted_caption(table, found)}"

    return region


#: The regions, and what each holds.
REGIONS: dict[str, Callable[[Documents], str]] = {
    "accuracy": _of("accuracy", accuracy.markdown),
    "without-images": _of("without-images", without_images.markdown),
    "cost": _of("accuracy", cost.markdown),
    "embeddings": _of("embeddings", embeddings.markdown),
    "mixed": _of("mixed", mixed.markdown),
    "search": _of("mixed", mixed.search_markdown),
    "low-bits": _of("low-bits", low_bits.uniform_markdown),
    "low-bits-mixed": _of("low-bits", low_bits.mixed_markdown),
    "low-bits-others": _of("low-bits", hard_markdown),
    "low-bits-ten-classes": _of("low-bits-ten-classes", low_bits.uniform_markdown),
    "low-bits-ten-classes-mixed": _of("low-bits-ten-classes", low_bits.mixed_markdown),
    "low-bits-ten-classes-others": _of("low-bits-ten-classes", small_markdown),
    "large": _of("large", large.markdown),
    "search-gpus": _of("search-gpus", search_gpus.markdown),
    "latency": _of("latency", latency.markdown),
    "floor": _of("floor", floor.markdown),
    "exactness": _of("exactness", exactness.markdown),
    "readme": readme_table,
    **{table.name: _adopted(table) for table in ADOPTED},
}


def caption(document: Document) -> str:
    """What the rows of a table were measured on."""
    versions = ", ".join(f"{name} {document.versions[name]}" for name in _NAMED)
    shares = sorted({(row["jobs"], row["threads"]) for row in document.rows})
    beside = " or ".join(f"{jobs} at a time with {threads} threads each" for jobs, threads in shares)
    return f"Commit {document.commit}; {versions}; {_machines(document)}; rows {beside}."


def _machines(document: Document) -> str:
    """The machines; where several measured different models, each with its own."""
    models = [
        list(
            dict.fromkeys(
                {**SHAPES, **large.LARGE}.get(row["model"]) or title_of(row["model"])
                for row in document.rows
                if row["machine"] == n
            )
        )
        for n in range(len(document.machines))
    ]
    if all(found == models[0] for found in models):
        return " or ".join(document.machines)
    return "; ".join(f"{', '.join(found)} on {name}" for name, found in zip(document.machines, models, strict=True))


def rendered(text: str, documents: Documents) -> str:
    """A page with its regions made again.

    Raises:
        KeyError: it has a region that nobody fills.
    """
    return _REGION.sub(lambda found: f"{found[1]}\n{REGIONS[found[2]](documents)}\n\n{found[3]}", text)


def regions_of(text: str) -> list[str]:
    """Names of the regions of a page."""
    return [found[2] for found in _REGION.finditer(text)]
