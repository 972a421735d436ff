"""An export that was written: what its caller gets, and what its report is made of."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.load.loaded import LoadedModel
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.report.evidence import Evidence
from mptq_export.report.profiled import Profiled
from mptq_export.verify.portable import PortableCheck
from mptq_export.verify.report import VerifyReport


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        onnx: the file.
        float_onnx: the float model as ONNX; None where it was not asked for.
        kit: the verification kit; None where none was asked for.
        replayed: the recipe that the file was made from; None where it was calibrated.
        command: a command line that does the same again.
        loaded: the float model.
        recipe: all decisions and the proof.
        verification: onnxruntime against `kernels_ref` on the inputs of the self-check, with the kernel plan; of a
            portable file, onnxruntime against the simulation.
        float_bytes: size of the weights in float32.
        onnx_bytes: size of the ONNX file.
        load_ms: time that onnxruntime needs to make a session of the file.
        min_ort: the oldest onnxruntime that opens the file; None for a portable file.
        warnings: what the user must see of the model, the calibration inputs and the file, a sentence each.
        dossier: the folder of the dossier; None where none was asked for.
        heads: of a detector of two stages the files of its heads, in the order in which they run.
        one_file: a detector as one file, float between its networks; None where it was not asked for.
        profiled: of a file of a profile: what it obeys, and the plain file beside it.
        evidence: what was measured of it, as OUT.report.json holds it; None where that could not be written.
        available: how many calibration images there were to choose from; None where that is not known.
    """

    onnx: Path
    float_onnx: Path | None
    kit: Path | None
    replayed: Path | None
    command: str
    loaded: LoadedModel
    recipe: ExportRecipe
    verification: VerifyReport | PortableCheck
    float_bytes: int
    onnx_bytes: int
    load_ms: float
    min_ort: str | None
    warnings: tuple[str, ...]
    dossier: Path | None = None
    heads: "tuple[ExportResult, ...]" = ()
    one_file: Path | None = None
    evidence: Evidence | None = None
    profiled: Profiled | None = None
    available: int | None = None
