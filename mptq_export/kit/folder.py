"""The folder of a kit, as a kind of folder that lists its own files."""

from pathlib import Path

from mptq_export.kit.manifest import KIND, MANIFEST, PORTABLE_KIND, Listing
from mptq_export.support.json_files import read_json
from mptq_export.support.listed_folder import ListedFolder


def _listed(folder: Path) -> set[str]:
    listing = read_json(folder / MANIFEST, Listing)
    return {entry.file for entry in listing.files} if listing.kind in (KIND, PORTABLE_KIND) else set()


KIT_FOLDER = ListedFolder("kit", MANIFEST, _listed)
