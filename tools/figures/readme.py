"""README's table: eight rows, all of one commit."""

from collections.abc import Iterator, Mapping

from tools.figures.latency import THREADS
from tools.figures.models import decimals_of, title_of
from tools.figures.show import markdown_table, percent
from tools.figures.table import Document, Figures

_PAGE = "docs/benchmarks.md"


def readme_table(documents: Mapping[str, Document]) -> str:
    """The rows whose figures there are.

    Raises:
        ValueError: they are of several commits.
    """
    used = {name: found for name, found in documents.items() if name in ("accuracy", "exactness", "mixed", "latency")}
    commits = {found.commit for found in used.values()}
    if len(commits) > 1:
        raise ValueError(f"README's table would mix the commits {', '.join(sorted(commits))}; measure again")
    rows = [row for part in (_exact, _accurate, _small, _mixed, _quick) for row in part(used)]
    table = markdown_table(("what", "result", "where from"), rows)
    if not rows:
        return "*Not measured yet.*"
    return f"{table}\n\nCommit {commits.pop()}; machines and intervals: [{_PAGE}]({_PAGE})." if commits else table


def _rows(documents: Mapping[str, Document], name: str, **wanted: str) -> list[Figures]:
    rows = documents[name].rows if name in documents else ()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _link(anchor: str) -> str:
    return f"[benchmarks]({_PAGE}#{anchor})"


def _exact(documents: Mapping[str, Document]) -> Iterator[tuple[str, str, str]]:
    for model, bits in (("digits", "8/8"), ("vit_small", "4/4")):
        for row in _rows(documents, "exactness", model=model, bits=bits):
            what = f"{title_of(model)} {bits}, {row['images']} images, all tensors, onnxruntime against `kernels_ref`"
            yield what, f"{row['differing']:,} of {row['values']:,} values differ", _link("exactness-all-tensors")


def _accurate(documents: Mapping[str, Document]) -> Iterator[tuple[str, str, str]]:
    widths = ("8/8", "4/4", "3/3")
    for model in ("deit_tiny", "vit_small", "vit_small_200"):
        found = {row["bits"]: row for row in _rows(documents, "accuracy", model=model, method="best")}
        if all(bits in found for bits in widths):
            shares = ", ".join(percent(found[bits]["top1"], decimals_of(model)) for bits in widths)
            whole = percent(found[widths[0]]["float_top1"], decimals_of(model))
            what = f"{title_of(model)} {', '.join(widths)}: top-1 of {found[widths[0]]['images']:,} images (float)"
            yield what, f"{shares} ({whole})", _link("accuracy")


def _small(documents: Mapping[str, Document]) -> Iterator[tuple[str, str, str]]:
    for row in _rows(documents, "accuracy", model="deit_tiny", bits="4/4", method="best"):
        size = f"{row['bytes'] / 1e6:.2f} MB, {row['bytes'] / row['float32_bytes']:.3f} of the float32 weights"
        cost = f"{row['seconds']:.0f} s and {row['peak_mb'] / 1e3:.2f} GB to export"
        yield (
            f"{title_of('deit_tiny')} 4/4: the file, the export",
            f"{size}; {cost}",
            _link("file-size-export-time-and-memory"),
        )


def _mixed(documents: Mapping[str, Document]) -> Iterator[tuple[str, str, str]]:
    for row in _rows(documents, "mixed", model="deit_tiny"):
        files = {file["file"]: file for file in row["files"]}
        both = [files[name] for name in ("mixed 4", "uniform 4/4")]
        shares = ", ".join(percent(file["top1"], decimals_of("deit_tiny")) for file in both)
        divergences = ", ".join(f"{file['kl']:.4f}" for file in both)
        what = f"{title_of('deit_tiny')}, mixed 4 and uniform 4/4: KL of the logits in nats, top-1"
        yield what, f"{divergences}; {shares}", _link("mixed-or-uniform-widths")


def _quick(documents: Mapping[str, Document]) -> Iterator[tuple[str, str, str]]:
    for row in _rows(documents, "latency", model="deit_small_patch16_224"):
        over = {peer["name"]: peer["timings"][0]["over"]["ours 8/8"]["median"] for peer in row["peers"]}
        names = {"float32": "float32", "ORT static u8s8": "u8s8", "ORT static u8u8": "u8u8"}
        what = f"DeiT-S 8/8, {THREADS[0]} thread: {', '.join(names.values())} of onnxruntime's quantizer over ours"
        yield what, ", ".join(f"{over[name]:.2f}x" for name in names), _link("latency")
