"""The capability table of `--target`; docs/runtimes.md names the source of every entry."""

from dataclasses import dataclass

from mptq_export.recipe.settings import WeightStorage


@dataclass(frozen=True)
class Target:
    """What one runtime takes.

    Attributes:
        storages: forms of stored weights, the first one where none is asked for.
        fixed_batch: whether shapes must be fixed; the file then takes one image.
        zero_points: whether codes may have zero points other than 0.
        least_bits: narrowest (weights, activations).
        warning: what must be known before the file is used there, a sentence; empty where nothing is.
    """

    storages: tuple[WeightStorage, ...] = ("packed", "int8")
    fixed_batch: bool = False
    zero_points: bool = True
    least_bits: tuple[int, int] = (2, 2)
    warning: str = ""


TARGETS: dict[str, Target] = {
    "ort": Target(),
    "ort-web": Target(),
    # Packed codes are unpacked at every run there; matmuls are in integers where weights are plain int8.
    "openvino": Target(
        storages=("int8",),
        warning="on a CPU with bfloat16 (AVX512_BF16, AMX) OpenVINO gives wrong results with this file unless it is "
        'compiled with {"INFERENCE_PRECISION_HINT": "f32"} (docs/runtimes.md)',
    ),
    # HTP multiplies uint8 by uint8; below 8 bits this program writes the right operand of attention as int8.
    "qnn": Target(
        storages=("int8",),
        fixed_batch=True,
        least_bits=(2, 8),
        warning="a file for qnn was never run on such a device: load it there and compare its results before use",
    ),
    # Nothing can be written for it as yet: who asks is told why.
    "tensorrt": Target(storages=("int8",), zero_points=False),
}
