"""The oldest onnxruntime that opens a file and gives its bits, from what the file holds.

Measured with the wheels of 1.17 to 1.32 by `tools/crosscheck/versions.py`; docs/runtimes.md has the table.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx

from mptq_export.recipe.settings import WeightStorage
from mptq_export.support.errors import MptqError

#: The entry of a file's metadata.
OLDEST_KEY = "mptq.min_onnxruntime"

#: Widths of weights whose upper four bits are an INT4 initializer where they are packed.
_INT4_WIDTHS = range(4, 8)


@dataclass(frozen=True)
class Feature:
    """Something that a file can hold.

    Attributes:
        since: the first onnxruntime that runs it.
        what: it, for people.
        held: whether a model holds it.
    """

    since: str
    what: str
    held: Callable[[onnx.ModelProto], bool]


def _int4(model: onnx.ModelProto) -> bool:
    return any(tensor.data_type == onnx.TensorProto.INT4 for tensor in model.graph.initializer)


FEATURES: tuple[Feature, ...] = (
    Feature("1.20", "products of codes in opset 21 (QLinearMatMul)", lambda _model: True),
    Feature("1.23", "packed weights of 4 to 7 bits (Cast from INT4)", _int4),
)

_INT4 = FEATURES[1]


def oldest_onnxruntime(model: onnx.ModelProto) -> str:
    """The oldest version that opens a model, as `major.minor`."""
    return max((feature.since for feature in FEATURES if feature.held(model)), key=_parsed)


def check_oldest(model: onnx.ModelProto, asked: str | None) -> None:
    """Refuse a finished model that needs a newer onnxruntime than was asked for.

    Raises:
        MptqError: it does; the message names what needs it.
    """
    for feature in FEATURES:
        if asked is not None and feature.held(model) and _parsed(feature.since) > _parsed(asked):
            raise _too_new(feature, asked)


def storage_in(asked: str | None, storage: WeightStorage | None, weight_bits: Iterable[int]) -> WeightStorage | None:
    """The form of stored weights that a version of onnxruntime opens.

    Args:
        asked: the oldest version that shall open the file; None for no wish.
        storage: the form that was asked for; None where none was.
        weight_bits: widths of weights, as far as they are known.

    Returns:
        `storage`, or plain int8 where none was asked for and packed weights may be too new.

    Raises:
        MptqError: no file of this program opens there, or not with such weights in that form.
    """
    if asked is None:
        return storage
    if _parsed(asked) < _parsed(FEATURES[0].since):
        raise _too_new(FEATURES[0], asked)
    if _parsed(asked) >= _parsed(_INT4.since):
        return storage
    if storage == "packed" and any(bits in _INT4_WIDTHS for bits in weight_bits):
        raise _too_new(_INT4, asked)
    return storage or "int8"


def _too_new(feature: Feature, asked: str) -> MptqError:
    advice = "; leave --weight-storage packed out" if feature is _INT4 else "; ask for that one or a newer one"
    return MptqError(f"--min-ort {asked}: {feature.what} need onnxruntime {feature.since}{advice}")


def _parsed(version: str) -> tuple[int, int]:
    """(major, minor) of `1.20` or `1.20.1`.

    Raises:
        MptqError: it is no version.
    """
    found = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)*", version)
    if found is None:
        raise MptqError(f"--min-ort {version} is no version of onnxruntime; give one such as 1.20")
    return int(found[1]), int(found[2])
