"""The capability table of `--target`; docs/edge.md names the source of every entry."""

from dataclasses import dataclass

from mptq_export.recipe.settings import WeightStorage
from mptq_export.targets.portable import PortableForm


@dataclass(frozen=True)
class Target:
    """What one runtime takes.

    Attributes:
        storages: forms of stored weights, the first one where none is asked for.
        portable: how files in the portable form look for it; None where it takes the exact form.
        warning: what must be known before the file is used there, a sentence; empty where nothing is.
    """

    storages: tuple[WeightStorage, ...] = ("packed", "int8")
    portable: PortableForm | None = None
    warning: str = ""


def _portable(form: PortableForm) -> Target:
    runs = "" if form.run else "a file for this target was never run there: load it, and compare its results before use"
    return Target(storages=("packed",), portable=form, warning=runs)


#: Inputs of matmuls alone: the form that everything reads.
GENERIC = PortableForm(
    everywhere=False,
    residual_bits=(),
    weights="pair_safe",
    attention_searched=True,
    gelu="erf",
    fixed_batch=False,
    run=True,
)

TARGETS: dict[str, Target] = {
    "ort": Target(),
    "ort-web": Target(),
    "generic": _portable(GENERIC),
    "openvino": _portable(
        PortableForm(
            everywhere=False,
            residual_bits=(),
            weights="pair_safe",
            attention_searched=True,
            opset=20,
            ir=9,
            fixed_batch=False,
            run=True,
        )
    ),
    # HTP computes in integers what has codes of one type in and out, a gain of 8 bits and int32 offsets.
    "qnn": _portable(
        PortableForm(
            signed=False,
            symmetric=False,
            weight_bits=(8, 4),
            activation_bits=(8, 16),
            residual_bits=(16, 8),
            norms="int32 offset",
            one_width=True,
            bytes_behind_movement=True,
            right_bits=8,
            attention_searched=True,
            inner_codes=True,
            opset=21,
            ir=10,
            run=True,
        )
    ),
    # In this form the simulator computes an op as onnxruntime does, bit by bit.
    "rknn": _portable(
        PortableForm(
            symmetric=False,
            off_middle=True,
            attention_one=False,
            norms="codes",
            gelu="erf",
            layers_in_parts=True,
            largest_stride=7,
            run=True,
        )
    ),
    "tract": _portable(GENERIC),
    # Its DequantizeLinear takes no int32, and zero points are 0.
    "tensorrt": _portable(PortableForm(attention="positive", bias_codes=False, gelu="erf")),
    # Of a product of two values both must be symmetric; codes from 0 of an unsigned type are.
    "tidl": _portable(PortableForm(gelu="erf")),
    # Signed symmetric weights, signed asymmetric activations ("ss/sa"); a softmax as in TFLite.
    "st": _portable(PortableForm(symmetric=False, attention="lowest", attention_one=False, gelu="erf")),
}


def portable_form(target: str | None) -> PortableForm | None:
    """How files in the portable form look for a target; None for targets of the exact form."""
    return None if target is None else TARGETS[target].portable
