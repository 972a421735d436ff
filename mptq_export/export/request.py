"""What an export is asked for: the options of `mptq-export`, as data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from mptq_export.data.reading import USUAL, Reading
from mptq_export.load.inputs import InputOptions
from mptq_export.quantize.method import METHODS
from mptq_export.recipe.schema import WIDTHS
from mptq_export.recipe.settings import InputType, WeightStorage
from mptq_export.support.errors import MptqError
from mptq_export.targets.oldest import storage_in
from mptq_export.targets.rules import check_target


@dataclass(frozen=True)
class ExportRequest:
    """What the user asked for.

    Attributes:
        model: checkpoint path or `timm:NAME`.
        out: the ONNX file to write.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`.
        inputs: how images become the input, where the user says it.
        features: export these feature maps instead of the logits, as in `load.features.as_backbone`; None: the logits.
        trust: unpickle a whole module (this runs code from the file).
        recipe: replay this file instead of calibrating; `features`, `calib`, `count`, `bits`, `pins`, `method`,
            `reading`, `class_map`, `reconstruct` and `device` are not read.
        calib: folder or array file; None for synthetic images.
        count: largest number of calibration images.
        reading: how calibration data is read, where not as usual.
        class_map: file that names the logits.
        bits: (weights, activations).
        pins: other widths for some layers, by shell pattern of their names; later patterns win.
        method: one of `quantize.method.METHODS`.
        reconstruct: afterwards learn the weight codes of every block by gradient descent.
        input_type: `float32` or `uint8`; None: float32, or the recipe's.
        weight_storage: `packed` (codes below 8 bits at their own width) or `int8`; None: the recipe's or the target's.
        target: the runtime that the file is for, one of `targets.table.TARGETS`; None: `ort`, or the recipe's.
        min_ort: the oldest onnxruntime that shall open the file, such as `1.20`; None for no wish. Where packed weights
            would be too new for it, `weight_storage` becomes `int8`.
        float_onnx: also write the float model here.
        kit: also write a verification kit in this folder.
        device: torch device for calibration; None takes a GPU where there is one.
        force: replace existing files.
        report: a file that the caller writes afterwards; it must not be one of the outputs.
    """

    model: str
    out: Path
    arch: str | None = None
    model_kwargs: dict[str, Any] | None = None
    inputs: InputOptions = field(default_factory=InputOptions)
    features: tuple[int, ...] | None = None
    trust: bool = False
    recipe: Path | None = None
    calib: Path | None = None
    count: int = 128
    reading: Reading = USUAL
    class_map: Path | None = None
    bits: tuple[int, int] = (8, 8)
    pins: dict[str, tuple[int, int]] = field(default_factory=dict)
    method: str = "best"
    reconstruct: bool = False
    input_type: InputType | None = None
    weight_storage: WeightStorage | None = None
    target: str | None = None
    min_ort: str | None = None
    float_onnx: Path | None = None
    kit: Path | None = None
    device: str | None = None
    force: bool = False
    report: Path | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            MptqError: a width is not from 2 to 8, the method, the input type or the weight storage is unknown, or the
                target or the oldest onnxruntime does not take the widths or the storage.
        """
        for name, widths in {"bits": self.bits, **self.pins}.items():
            if len(widths) != 2 or not all(width in WIDTHS for width in widths):
                raise MptqError(f"{name}: {widths} is not (weights, activations) with both widths from 2 to 8")
        for name, value, known in (
            ("method", self.method, tuple(METHODS)),
            ("input_type", self.input_type, (None, *get_args(InputType))),
            ("weight_storage", self.weight_storage, (None, *get_args(WeightStorage))),
        ):
            if value not in known:
                raise MptqError(f"{name} {value!r} is not known; choose one of {', '.join(filter(None, known))}")
        widths_known = [] if self.recipe is not None else [self.bits, *self.pins.values()]
        storage = storage_in(self.min_ort, self.weight_storage, [weights for weights, _ in widths_known])
        object.__setattr__(self, "weight_storage", storage)
        if self.target is not None:
            check_target(self.target, self.weight_storage, widths_known)
