"""Which file a dossier is about and what it was made of: names, hashes, versions."""

import json

import onnx

from mptq_export.dossier.contents import Calibration, Identity
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.report.export_files import Export, StoredFile
from mptq_export.report.lineage import HashedFile
from mptq_export.verify.onnx_file import metadata_of
from mptq_export.verify.origin import Origin


def identity_of(export: Export, model: onnx.ModelProto, origin: Origin) -> Identity:
    """The identity of a file that was held against its recipe.

    Args:
        export: its files, the ONNX file among them.
        model: the file.
        origin: what holding it against the recipe gave; without problems.
    """
    recipe, evidence = export.recipe, export.evidence
    settings, lineage = recipe.settings, None if evidence is None else evidence.lineage
    metadata = metadata_of(model)
    first, *others = map(_hashed, export.files)
    traced = lineage is not None and lineage.inputs > 0
    return Identity(
        file=first,
        recipe=tuple(others),
        contents_sha256=metadata[CONTENTS_KEY],
        parts=origin.parts,
        layers=origin.weights,
        ir_version=model.ir_version,
        opset=max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        metadata=metadata,
        model=recipe.model.arch,
        model_source=recipe.model.arch_source,
        model_arguments=json.dumps(recipe.model.model_kwargs),
        library=recipe.model.library,
        weights_sha256=recipe.model.weights_sha256,
        checkpoint=() if lineage is None else lineage.checkpoint,
        calibration=Calibration(
            description=settings.calibration.description,
            images=settings.calibration.images,
            inputs_sha256=lineage.inputs_sha256 if lineage is not None and traced else None,
            files=lineage.files if lineage is not None and traced else (),
        ),
        versions=settings.versions,
        measured_with={} if evidence is None else evidence.versions,
        command=None if evidence is None else evidence.command,
    )


def _hashed(file: StoredFile) -> HashedFile:
    return HashedFile(file.name, file.size, file.sha256)
