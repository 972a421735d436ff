"""The page of one export, from what its files tell; the templates lay it out."""

import base64
import hashlib
from collections import Counter
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mptq_export.emit.exact.proof import Quantity
from mptq_export.recipe.schema import Claim
from mptq_export.report.accuracy import accuracy_path
from mptq_export.report.charts import front_chart
from mptq_export.report.decisions import block_decisions, global_decisions, read_decisions
from mptq_export.report.export_files import Export
from mptq_export.report.figures import figures_of
from mptq_export.report.form_decisions import residual_words
from mptq_export.report.layer_errors import error_plot
from mptq_export.report.layer_table import COLUMNS, FULL_DB, layer_rows, worst_first
from mptq_export.report.network import rows_of
from mptq_export.report.paths import csv_path
from mptq_export.report.promise import not_run, output_words
from mptq_export.report.reproduce import commands_of, hashes_of, pick_command, versions_of
from mptq_export.report.worst import worst_of
from mptq_export.support.version import __version__
from mptq_export.verify.kernels.plan import MatmulKernel

#: What the columns of the list of layers are called on the page.
HEADS = ("#", "layer", "kind", "weights", "reads", "parameters", "MACs", "SQNR (dB)")


def render(template: str, **values: Any) -> str:
    """A page: the template, with style sheet and script inside and everything escaped."""
    environment = _environment()
    style, script = _own("report.css"), _own("layers.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(
        style=style, script=script, script_hash=f"sha256-{digest}", version=__version__, **values
    )


def _own(name: str) -> Markup:
    """A style sheet or script of ours, not data: as it is, without the spaces and lines that only people need."""
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    lines = (line.strip() for line in source.splitlines())
    return Markup("\n".join(line for line in lines if line and not line.startswith("//")))


@cache
def _environment() -> Environment:
    """The templates, compiled once: a search writes a page per budget."""
    loader = PackageLoader("mptq_export.report")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters["coded"] = _coded
    return found


def _coded(sentence: str) -> Markup:
    """What stands between backticks as code."""
    pieces = (escape(piece) for piece in sentence.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(text) if i % 2 else text for i, text in enumerate(pieces))


def report_page(export: Export) -> str:
    """The report of one export as HTML."""
    evidence, front = export.evidence, export.front
    has_errors = evidence is not None and bool(evidence.errors)
    return render(
        "report.html",
        export=export,
        arch=export.recipe.model.arch,
        settings=export.recipe.settings,
        figures=figures_of(export),
        network=rows_of(export.recipe, evidence.macs if evidence else {}),
        rows=worst_first(layer_rows(export)),
        heads=list(zip(HEADS, COLUMNS, strict=True)),
        full_db=FULL_DB,
        csv_name=csv_path(export.onnx).name,
        residual=residual_words(export.recipe.settings.residual_bits),
        portable=export.recipe.settings.form == "portable",
        runs=export.runs,
        output_words=output_words,
        not_run=not_run(export),
        front=front,
        front_plot=front_chart([("search", front)]) if front else None,
        picks=[(offered, pick_command(export, offered.budget)) for offered in front.offered] if front else [],
        error_plot=error_plot([("", evidence)]) if evidence and has_errors else None,
        worst=worst_of(export),
        eval_name=accuracy_path(export.onnx).name,
        warnings=evidence.warnings if evidence else (),
        notes=evidence.notes if evidence else (),
        images=evidence.observed_images if evidence else 0,
        kernels=kernel_counts(export.kernels or ()),
        proof=proof_rows(export.recipe.proof),
        decisions=[*global_decisions(export.recipe), *read_decisions(evidence)],
        blocks=block_decisions(export.recipe, evidence),
        has_floats=evidence is not None and bool(evidence.weight_steps),
        commands=commands_of(export),
        versions=versions_of(export),
        hashes=hashes_of(export),
    )


def kernel_counts(kernels: tuple[MatmulKernel, ...]) -> list[tuple[str, str, int]]:
    """Op, kind and number of the matmuls."""
    return [(op, kind, count) for (op, kind), count in sorted(Counter((k.op, k.kind) for k in kernels).items())]


def proof_rows(claims: list[Claim]) -> list[tuple[str, int, Claim]]:
    """Kind of claim, how many there are, and the one that comes closest to its limit.

    A value that must not be passed from above comes close as it falls, one from below as it grows.
    """
    kinds: dict[str, list[Claim]] = {}
    for claim in claims:
        kinds.setdefault(Quantity.kind_of(claim), []).append(claim)

    def room(claim: Claim) -> float:
        share = claim.value / claim.limit if claim.limit else 0.0
        return share if claim.relation == "at least" else -share

    return [(kind, len(found), min(found, key=room)) for kind, found in sorted(kinds.items())]
