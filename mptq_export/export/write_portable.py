"""The last stage of a portable export: emit, run beside the simulation, and only then let file and recipe appear."""

from functools import partial
from pathlib import Path

import onnx
import torch

from mptq_export.capture.graph import Graph
from mptq_export.data.images import spread
from mptq_export.data.probe import probe_inputs
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.export.forms import sites_of
from mptq_export.export.metadata import describe, first_stage, tie
from mptq_export.export.outputs import Outputs
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.store import recipe_writers
from mptq_export.runtime.edge.form import FORM_KEY
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_together
from mptq_export.support.progress import SILENT, Progress, undivided
from mptq_export.support.version import __version__
from mptq_export.targets.file.check import refuse_broken
from mptq_export.verify.portable import PortableCheck, check_portable

#: Images that a file is run on.
IMAGES = 4

#: Least signal to noise of the file against the simulation, in dB: codes on a boundary stay far above.
LEAST_DB = 15.0


def write_portable(
    outputs: Outputs,
    loaded: LoadedModel,
    graph: Graph,
    recipe: ExportRecipe,
    *,
    images: torch.Tensor | None = None,
    progress: Progress = SILENT,
) -> PortableCheck:
    """Write the ONNX file and its recipe.

    Args:
        outputs: the ONNX file, and whether files are replaced.
        loaded: the float model; its preprocessing goes into the file.
        graph: prepared graph of the form with the recipe's transforms, float32, on the CPU.
        recipe: all decisions; the list of the file's parts is filled.
        images: float32 calibration inputs, some of which the file is run on; None where there are none.
        progress: hears how far it is.

    Raises:
        MptqError: an op has no spelling for the target, the file breaks a rule of the target (which is a defect where
            it was not refused before), or it does not give what was simulated, or the disk is full;
            nothing is written.
    """
    settings, where = recipe.settings, sites_of(recipe.settings, graph, recipe)
    with undivided(progress, "writing the file"):
        model = emit_portable(graph, recipe, where, input_type=settings.input_type, producer=__version__)
        refuse_broken(model, settings.target or "ort")
        describe(model, loaded, settings, {FORM_KEY: "portable", **first_stage(outputs)})
        tie(model, recipe)
    if images is None:
        pictures = torch.from_numpy(probe_inputs(loaded.preprocessing, IMAGES))
    else:
        pictures = images[spread(range(len(images)), IMAGES)].cpu()
    checks: list[PortableCheck] = []

    def write(path: Path) -> None:
        onnx.save(model, path)
        with progress.stage("checking", 1) as bar:
            expected = PortableSimulator.of(where, recipe)
            check = check_portable(path, pictures, loaded.preprocessing, partial(expected.logits, graph))
            bar.advance()
        if check.sqnr_db is not None and not check.sqnr_db >= LEAST_DB:
            raise MptqError(
                f"{outputs.onnx.name} was not written: it does not give what was simulated "
                f"({check.sqnr_db:.1f} dB); this is a defect, please report the model"
            )
        checks.append(check)

    write_together({outputs.onnx: write, **recipe_writers(recipe, outputs.onnx)}, force=outputs.force)
    return checks[0]
