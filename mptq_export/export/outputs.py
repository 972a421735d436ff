"""What an export writes: refused before any work where it cannot be written, or would overwrite what is needed."""

from pathlib import Path

from mptq_export.export.request import ExportRequest
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable


def check_outputs(request: ExportRequest) -> None:
    """Refuse outputs that cannot be written, are an input, or are one file twice."""
    from mptq_export.recipe.store import recipe_paths, tensors_path
    from mptq_export.report.paths import evidence_path, report_path

    inputs = {Path(path).resolve() for path in (request.model, request.calib, request.class_map) if path is not None}
    replayed = {path.resolve() for path in (request.recipe, tensors_path(request.recipe))} if request.recipe else set()
    taken: set[Path] = set()
    models = [request.out, *([request.float_onnx] if request.float_onnx else [])]
    for path in [*models, *recipe_paths(request.out), report_path(request.out), evidence_path(request.out)]:
        # A replayed recipe may be written over itself.
        if path.resolve() in inputs | taken | (replayed if path in models else set()):
            raise MptqError(
                f"cannot write {path}: the checkpoint, the recipe, another input or another output has that name; "
                "choose another -o"
            )
        taken.add(path.resolve())
        check_writable(path, force=request.force)
    if request.report is not None and request.report.resolve() in inputs | replayed | taken:
        raise MptqError(f"--json {request.report} names the checkpoint, the recipe or an output; choose another file")
    if request.kit is not None:
        from mptq_export.kit.folder import check_kit_folder

        outside = (Path(request.model), *models, *([request.report] if request.report else []))
        check_kit_folder(request.kit, force=request.force, outside=outside)
