"""An export's files in, the folder of a dossier out: the document three times, its evidence, and a kit."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import exif_of
from mptq_export.dossier.build import build_dossier
from mptq_export.dossier.folder import DOCUMENT, DOSSIER_FOLDER, PAGE, PAPER, SUMS
from mptq_export.dossier.html import dossier_page
from mptq_export.dossier.pdf import dossier_pdf, has_reportlab
from mptq_export.kit.inputs import COUNT, golden_inputs
from mptq_export.kit.manifest import MANIFEST, Manifest
from mptq_export.kit.write import exact_files
from mptq_export.recipe.detector import takes_regions
from mptq_export.recipe.store import recipe_paths
from mptq_export.report.accuracy import accuracy_path
from mptq_export.report.export_files import Export, read_export
from mptq_export.report.lineage import HashedFile
from mptq_export.report.paths import evidence_path
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import json_text
from mptq_export.support.typed_json import from_json
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from mptq_export.verify.origin import Origin, check_recipe

KIT = "kit"
EVIDENCE = "evidence"
NO_PDF = (
    "the dossier has no PDF, which needs reportlab: pip install 'mptq-export[dossier]', then mptq-report {} --dossier "
    "{} --force"
)


def write_dossier(
    named: Path, out: Path, images: NDArray[np.float32] | Path | None = None, *, force: bool = False
) -> tuple[str, ...]:
    """Write the dossier of an exact file.

    Args:
        named: the ONNX file or its recipe.
        out: the folder.
        images: inputs of golden values, (inputs, channels, height, width) as the float model takes them, or a folder of
            images; None for synthetic ones.
        force: replace a dossier that is there.

    Returns:
        What the user should know, a sentence each: that there is no PDF.

    Raises:
        MptqError: the file is not there or of the portable form, its recipe is missing, of another file or does not
            hold for it, onnxruntime and `kernels_ref` differ on the golden inputs, or the folder cannot be written.
    """
    DOSSIER_FOLDER.check(out, force=force)
    export = read_export(named)
    check_exact(export)
    model = load_onnx(export.onnx)
    origin = _checked_origin(export, model)
    inputs, described = _golden(export, model, images)
    kit = exact_files(export.onnx, model, inputs)
    files = {f"{KIT}/{name}": data for name, data in kit.items()}
    files |= {f"{EVIDENCE}/{path.name}": path.read_bytes() for path in _evidence(export)}
    manifest = from_json(Manifest, json.loads(kit[MANIFEST]))
    listed = {name: HashedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    dossier = build_dossier(export, model, origin, (manifest, described, KIT), listed)
    files |= {DOCUMENT: json_text(dossier).encode(), PAGE: dossier_page(dossier).encode()}
    if has_reportlab():
        files[PAPER] = dossier_pdf(dossier)
    files[SUMS] = _sums(files)
    DOSSIER_FOLDER.write(out, files)
    return () if has_reportlab() else (NO_PDF.format(export.onnx, out),)


def check_exact(export: Export) -> None:
    """Refuse an export of which no dossier can be.

    Raises:
        MptqError: the message says why.
    """
    if export.recipe.settings.form == "portable":
        raise MptqError(
            f"no dossier of {export.name}: it is of the portable form for {export.recipe.settings.target}, of which no "
            "bits are promised, so there is no exact replication to argue; mptq-report shows what was measured of it"
        )
    if export.onnx_file is None:
        raise MptqError(f"no dossier: {export.onnx} is not there; keep the files of an export together")


def _checked_origin(export: Export, model: onnx.ModelProto) -> Origin:
    recipe = recipe_paths(export.onnx)[0]
    origin = check_recipe(model, recipe)
    if origin.problems:
        raise MptqError(
            f"no dossier: {export.name} is not as {recipe.name} says: {origin.problems[0]}; restore the files, or "
            "export again"
        )
    return origin


def _golden(
    export: Export, model: onnx.ModelProto, images: NDArray[np.float32] | Path | None
) -> tuple[Sequence[NDArray[Any]], str]:
    """Golden inputs as the file takes them, and what they are."""
    preprocessing = Preprocessing.from_metadata(export.recipe.settings.preprocessing)
    described = "synthetic pictures, the same on every call"
    if isinstance(images, Path):
        metadata = metadata_of(model)
        if takes_regions(metadata):
            raise MptqError(f"{export.name} is a head of a detector, whose input no image is; leave --images out")
        folder = ImageFolder(images, preprocessing, limit=COUNT, labels=False, exif=exif_of(metadata))
        images = np.stack([preprocessing.normalize(pixels[None])[0] for pixels in folder.images()])
        described = ", ".join(file.relative_to(folder.path).as_posix() for file in folder.files)
    elif images is not None:
        described = "of the calibration"
    return golden_inputs(export.onnx, images, preprocessing), described


def _evidence(export: Export) -> list[Path]:
    """The files that the document is made of; the ONNX file is in the kit."""
    paths = [*recipe_paths(export.onnx)]
    paths += [evidence_path(export.onnx)] if export.evidence is not None else []
    return paths + ([accuracy_path(export.onnx)] if export.accuracy is not None else [])


def _sums(files: Mapping[str, bytes]) -> bytes:
    """All files with their SHA-256, as `sha256sum -c` reads them."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return "".join(lines).encode()
