"""The last verb: is a file exact, in integers, the same in any batch, and as it was written?"""

from dataclasses import replace
from math import inf
from pathlib import Path
from time import perf_counter

import onnx

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import exif_of
from mptq_export.recipe.detector import JOINED_KEY, takes_regions
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.runtime.edge.form import FORM_KEY
from mptq_export.runtime.graph_input import declared_input
from mptq_export.runtime.pixels import to_graph_input
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Progress, advancing
from mptq_export.verify.batches import MOST_BYTES
from mptq_export.verify.code_functions.exhaustive import run_tables
from mptq_export.verify.compare import verify_model
from mptq_export.verify.inputs.sets import InputSet, probe_sources
from mptq_export.verify.kernels.plan import KernelPlan
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from mptq_export.verify.origin import check_recipe
from mptq_export.verify.report import VerifyReport

#: Images that are run where no number is asked for.
COUNT = 16


def verify(
    model: str | Path,
    images: str | Path | None = None,
    *,
    count: int | None = None,
    recipe: str | Path | None = None,
    threads: int = 0,
    batch: int | None = None,
    allow_skipped: bool = False,
    progress: Progress = SILENT,
) -> VerifyReport:
    """Compare onnxruntime with `kernels_ref` on every tensor of a file, and list the kernels that ran.

    Of a file that this package wrote, all codes of every function are run in the installed onnxruntime too: inputs
    reach some of them, and another version or CPU has other functions than the one that wrote the file.

    Args:
        model: the ONNX file.
        images: folder of images to run; None for inputs that are made up.
        count: at most so many images, spread evenly; or so many random inputs and no other ones. None: 16 images; or
            random, constant and extreme inputs.
        recipe: also prove that the file came from this `.recipe.json`. A file that did not is not run.
        threads: onnxruntime's threads within an operator; 0 is its own choice.
        batch: inputs a batch, where the file leaves it free. All tensors of one are in memory, twice. None: some inputs
            alone and some by three, of which the outputs alone are compared where all tensors are too many.
        allow_skipped: go on where more than a tenth of the images cannot be read.
        progress: hears how far it is.

    Returns:
        The report; `passed` says whether no value differs, every matmul runs in integers, no result depends on the
        batch, and the file is as it was written. A file that is not the recipe's has 0 `samples`, and its `origin` says
        what differs.

    Raises:
        MptqError: the file is of the portable form or a detector in one file, or the file, the recipe or the images
            cannot be used.
    """
    path, document = Path(model), load_onnx(Path(model))
    if FORM_KEY in metadata_of(document):
        raise MptqError(
            f"{path} is of the portable form, of which no bits are promised: --runtime NAME runs it there and says how "
            "far it is from what the file says, and --recipe goes with it"
        )
    if JOINED_KEY in metadata_of(document):
        raise MptqError(
            f"{path} is a detector in one file, which is float between its networks: these are proved in the files "
            "that it was joined from; name one of them"
        )
    origin = None if recipe is None else check_recipe(document, Path(recipe))
    if origin is not None and origin.problems:
        return VerifyReport(
            model=str(path),
            samples=0,
            threads=threads,
            tensors=(),
            runtime_made=(),
            outputs={},
            instrumented={},
            plan=KernelPlan((), {}),
            origin=origin,
        )
    folder = None if images is None else _images(document, Path(images), count, allow_skipped)
    inputs, start = _inputs(document, folder, count, batch), perf_counter()
    tables = run_tables(document) if CONTENTS_KEY in metadata_of(document) else None  # a file of ours
    del document  # the weights of a large model
    most_bytes = MOST_BYTES if batch is None else inf
    with progress.stage("verifying", len(inputs)) as bar:
        report = verify_model(path, advancing(inputs, bar), threads=threads, most_bytes=most_bytes)
    drawn = {kind: number for kind, number in inputs.drawn.items() if number}
    warnings, skipped = (folder.warnings, len(folder.skipped)) if folder is not None else ((), 0)
    seconds = perf_counter() - start
    return replace(
        report,
        origin=origin or report.origin,
        inputs=drawn,
        seconds=seconds,
        warnings=warnings,
        skipped=skipped,
        tables=tables,
    )


def _images(document: onnx.ModelProto, images: Path, count: int | None, allow_skipped: bool) -> ImageFolder:
    """The images, read as the file's own calibration images were."""
    metadata = metadata_of(document)
    if takes_regions(metadata):
        raise MptqError(
            "the file is a head of a detector, whose input is cut out of maps: no image is one; leave --images out"
        )
    return ImageFolder(
        images,
        Preprocessing.from_metadata(metadata),
        limit=count or COUNT,
        labels=False,
        exif=exif_of(metadata),
        allow_skipped=allow_skipped,
    )


def _inputs(document: onnx.ModelProto, folder: ImageFolder | None, count: int | None, batch: int | None) -> InputSet:
    """Batches as the file takes them."""
    spec = declared_input(document)
    spec.batch(batch or 1)
    if folder is None:
        numbers = {} if count is None else {"random": count, "constant": 0, "extreme": 0}
        return InputSet(probe_sources(document, **numbers), spec, batch)
    normalize = folder.preprocessing.normalize
    rows = (to_graph_input(pixels[None], spec, normalize)[0] for pixels in folder.images())
    return InputSet({"images": (len(folder), rows)}, spec, batch)
