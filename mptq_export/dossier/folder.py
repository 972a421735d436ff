"""The folder of a dossier, as a kind of folder that lists its own files."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.dossier.contents import KIND
from mptq_export.report.lineage import HashedFile
from mptq_export.support.json_files import read_json
from mptq_export.support.listed_folder import ListedFolder

DOCUMENT, PAGE, PAPER, SUMS = "dossier.json", "dossier.html", "dossier.pdf", "SHA256SUMS"


@dataclass(frozen=True)
class _Listing:
    kind: str
    files: tuple[HashedFile, ...]


def _listed(folder: Path) -> set[str]:
    listing = read_json(folder / DOCUMENT, _Listing)
    return {PAGE, PAPER, SUMS, *(file.name for file in listing.files)} if listing.kind == KIND else set()


DOSSIER_FOLDER = ListedFolder("dossier", DOCUMENT, _listed)
