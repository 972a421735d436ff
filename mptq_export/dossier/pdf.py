r"""The dossier as PDF: the same blocks as its HTML, on paper.

reportlab lays it out (`pip install 'mptq-export[dossier]'`). Its fonts have the letters of Latin-1; what is beyond
stands as an escape, such as `\u4e2d`. The bytes depend on the dossier alone.
"""

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any
from xml.sax.saxutils import escape

from mptq_export.dossier.contents import Dossier
from mptq_export.dossier.document import Section, Table, sections_of, title_of

_MARGIN, _SIZE, _LEADING = 36, 6.5, 8
_GREY = "#e8ecf0"


def has_reportlab() -> bool:
    """Whether there is what makes the PDF."""
    return find_spec("reportlab") is not None


def dossier_pdf(dossier: Dossier) -> bytes:
    """The document on paper; `has_reportlab` says whether it can be made."""
    title = title_of(dossier)
    foot = f"{title}, SHA-256 {dossier.identity.file.sha256}"
    return laid_out(title, dossier.made_by, sections_of(dossier), foot)


def laid_out(title: str, author: str, sections: tuple[Section, ...], foot: str) -> bytes:
    """Sections as PDF in landscape A4, with outline and page numbers.

    Args:
        title: of the document.
        author: what wrote it.
        sections: what it says.
        foot: stands under every page.
    """
    from reportlab.lib.pagesizes import A4, landscape  # noqa: PLC0415 - an optional package
    from reportlab.platypus import SimpleDocTemplate  # noqa: PLC0415

    target = io.BytesIO()
    document = SimpleDocTemplate(
        target,
        pagesize=landscape(A4),
        **dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), _MARGIN),
        title=_latin(title),
        author=author,
        invariant=1,
    )
    draw = _foot(foot)
    document.build(list(_Flow(document.width).of(title, sections)), onFirstPage=draw, onLaterPages=draw)
    return target.getvalue()


def _foot(text: str) -> Callable[[Any, Any], None]:
    def draw(canvas: Any, document: Any) -> None:
        canvas.setFont("Helvetica", _SIZE)
        canvas.drawString(_MARGIN, _MARGIN / 2, _latin(text))
        canvas.drawRightString(document.pagesize[0] - _MARGIN, _MARGIN / 2, f"page {document.page}")

    return draw


class _Flow:
    """The blocks as reportlab's flowables."""

    def __init__(self, width: float) -> None:
        from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415

        self._width = width
        base = {"fontName": "Helvetica", "splitLongWords": 1}
        self._cell = ParagraphStyle("cell", fontSize=_SIZE, leading=_LEADING, **base)
        self._head = ParagraphStyle("head", parent=self._cell, fontName="Helvetica-Bold")
        self._text = ParagraphStyle("text", fontSize=9, leading=12, spaceBefore=4, spaceAfter=4, **base)
        self._bold = "Helvetica-Bold"
        self._big = ParagraphStyle("big", fontSize=18, leading=22, spaceAfter=8, fontName=self._bold)
        self._heading = ParagraphStyle(
            "heading", fontSize=13, leading=16, spaceBefore=14, spaceAfter=4, fontName=self._bold
        )

    def of(self, title: str, sections: tuple[Section, ...]) -> Iterator[Any]:
        """Everything, in order."""
        yield self._paragraph(title, self._big)
        for number, section in enumerate(sections, 1):
            yield _heading(f"{number}. {section.title}", self._heading)
            for block in section.blocks:
                if isinstance(block, str):
                    yield self._paragraph(block, self._text)
                elif isinstance(block, Table):
                    yield self._table(block)
                else:
                    yield from (self._paragraph(f"- {sentence}", self._text) for sentence in block)

    def _table(self, table: Table) -> Any:
        from reportlab.lib.colors import HexColor  # noqa: PLC0415
        from reportlab.platypus import LongTable  # noqa: PLC0415

        share = self._width / sum(table.widths)
        rows = [[self._paragraph(cell, self._head) for cell in table.head]]
        rows += [[self._paragraph(cell, self._cell) for cell in row] for row in table.rows]
        style = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (-1, 0), HexColor(_GREY)),
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, HexColor("#b0b8c0")),
            *((side, (0, 0), (-1, -1), 2) for side in ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")),
        ]
        widths = [share * width for width in table.widths]
        return LongTable(rows, widths, repeatRows=1, style=style, splitInRow=1)

    @staticmethod
    def _paragraph(text: str, style: Any) -> Any:
        from reportlab.platypus import Paragraph  # noqa: PLC0415

        return Paragraph(escape(_latin(text)).replace("\n", "<br/>"), style)


def _heading(text: str, style: Any) -> Any:
    """A heading that is in the outline, too."""
    from reportlab.platypus import Paragraph  # noqa: PLC0415

    class Heading(Paragraph):  # type: ignore[misc, unused-ignore]
        def draw(self) -> None:
            self.canv.bookmarkPage(text)
            self.canv.addOutlineEntry(text, text)
            super().draw()

    return Heading(escape(text), style)


def _latin(text: str) -> str:
    """A text in the letters that the fonts have."""
    return text.replace("`", "").encode("latin-1", "backslashreplace").decode("latin-1")
