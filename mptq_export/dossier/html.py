"""The dossier as one HTML page that loads nothing and runs no script."""

from mptq_export.dossier.contents import Dossier
from mptq_export.dossier.document import Table, sections_of, title_of
from mptq_export.report.page import render


def dossier_page(dossier: Dossier) -> str:
    """The page."""
    sections = [
        (section.title, [(_shape_of(block), block) for block in section.blocks]) for section in sections_of(dossier)
    ]
    return render("dossier.html", title=title_of(dossier), name=dossier.identity.file.name, sections=sections)


def _shape_of(block: object) -> str:
    return "table" if isinstance(block, Table) else "sentence" if isinstance(block, str) else "list"
