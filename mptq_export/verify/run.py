"""The last verb: is a file exact, in integers, and as it was written?"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from mptq_export.progress import Track, untracked
from mptq_export.verify.compare import verify_model
from mptq_export.verify.inputs import random_inputs
from mptq_export.verify.kernel_plan import KernelPlan
from mptq_export.verify.origin import check_recipe
from mptq_export.verify.report import VerifyReport
from mptq_export.verify.session import declared_input, load_onnx, metadata_of

#: Inputs that are run where no number is asked for.
COUNT = 16


def verify(
    model: str | Path,
    images: str | Path | None = None,
    *,
    count: int = COUNT,
    recipe: str | Path | None = None,
    threads: int = 0,
    batch: int = 1,
    track: Track = untracked,
) -> VerifyReport:
    """Compare onnxruntime with `kernels_ref` on every tensor of a file, and list the kernels that ran.

    Args:
        model: the ONNX file.
        images: folder of images to run; None for seeded random inputs.
        count: number of random inputs, or at most so many images, spread evenly.
        recipe: also prove that the file came from this `.recipe.json`. A file that did not is not run.
        threads: onnxruntime's threads within an operator; 0 is its own choice.
        batch: inputs a batch, where the file leaves it free. All tensors of one are in memory, twice.
        track: wraps an iterable with a progress bar.

    Returns:
        The report; `passed` says whether no value differs, every matmul runs in integers, and the file is as it was
        written. A file that is not the recipe's has 0 `samples`, and its `origin` says what differs.

    Raises:
        MptqError: the file, the recipe or the images cannot be used.
    """
    path, document = Path(model), load_onnx(Path(model))
    origin = None if recipe is None else check_recipe(document, Path(recipe))
    if origin is not None and origin.problems:
        return VerifyReport(str(path), 0, threads, (), (), {}, {}, KernelPlan((), {}), origin)
    inputs, batches = _inputs(document, None if images is None else Path(images), count, batch)
    report = verify_model(path, track(inputs, "verifying", batches), threads=threads)
    return replace(report, origin=origin or report.origin)


def _inputs(
    document: onnx.ModelProto, images: Path | None, count: int, batch: int
) -> tuple[Iterable[NDArray[Any]], int]:
    """Batches as the file takes them, and how many there are."""
    spec = declared_input(document)
    size = spec.batch(batch)
    if images is None:
        return random_inputs(spec, count, size), -(-count // size)
    from mptq_export.data.images import ImageFolder
    from mptq_export.data.preprocessing import Preprocessing
    from mptq_export.evaluate.pixels import to_graph_input

    preprocessing = Preprocessing.from_metadata(metadata_of(document))
    folder = ImageFolder(images, preprocessing, limit=count, labels=False)
    found = (to_graph_input(pixels, spec, preprocessing.normalize) for pixels in folder.batches(size))
    return found, -(-len(folder) // size)
