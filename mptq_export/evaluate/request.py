"""What is evaluated, and on what, as data."""

from dataclasses import dataclass, field
from pathlib import Path

from mptq_export.load.request import ModelRequest
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import RuntimeName


@dataclass(frozen=True)
class EvalRequest:
    """What is evaluated, and on what.

    Attributes:
        model: the ONNX file.
        data: folder of images; its subfolders are the classes.
        checkpoint: the float model; None to evaluate the file alone.
        class_map: file that names the logits.
        exif: whether images are turned as their EXIF orientation says; None: as the file says.
        allow_skipped: go on where more than a tenth of the images cannot be read.
        limit: at most so many images, spread evenly.
        batch: images a batch; another runtime gets one at a time.
        runtime: where the file runs; None: in onnxruntime on this CPU.
        options: how that is opened.
        resume: file that keeps results as they come, and gives those that it has: of `runtime`, or of a detector.
        annotations: of a task: the file of objects in COCO's format, or the folder of label maps; None looks for them.
        ignore: of segmentation: the value of label maps that stands for no class.
        first_label: of segmentation: the value that stands for the model's first class; lower ones stand for none.
    """

    model: Path
    data: Path
    checkpoint: ModelRequest | None = None
    class_map: Path | None = None
    exif: bool | None = None
    allow_skipped: bool = False
    limit: int | None = None
    batch: int = 8
    runtime: RuntimeName | None = None
    options: EdgeOptions = field(default_factory=EdgeOptions)
    resume: Path | None = None
    annotations: Path | None = None
    ignore: int = 255
    first_label: int = 0
