"""The outputs of a model: which it gives, how its ONNX file says so, and a choice among them."""

import json
from collections.abc import Mapping, Sequence

from mptq_export.load.features import features_of
from mptq_export.recipe.outputs import LOGITS, Output, OutputKind
from mptq_export.support.errors import MptqError
from mptq_export.support.typed_json import from_json

__all__ = ["LOGITS", "OUTPUTS_KEY", "Output", "OutputKind", "chosen", "outputs_of", "outputs_text"]

#: Metadata of an ONNX file that gives something else than one output of logits, or feature maps: names and kinds.
OUTPUTS_KEY = "mptq.outputs"


def outputs_text(outputs: Sequence[Output]) -> str:
    """The outputs as an ONNX file's metadata has them."""
    return json.dumps([{"output": each.name, "kind": each.kind} for each in outputs])


def outputs_of(metadata: Mapping[str, str]) -> tuple[Output, ...]:
    """The outputs that an ONNX file of this program gives, in order.

    Raises:
        MptqError: the metadata is damaged.
    """
    if OUTPUTS_KEY not in metadata:
        return tuple(Output(feature.name, "map") for feature in features_of(metadata)) or LOGITS
    try:
        entries = json.loads(metadata[OUTPUTS_KEY])
        return tuple(from_json(Output, {"name": entry["output"], "kind": entry["kind"]}) for entry in entries)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MptqError(f"the file's {OUTPUTS_KEY} is damaged ({type(error).__name__}); export it again") from error


def chosen(outputs: Sequence[Output], names: Sequence[str]) -> list[int]:
    """Where the named outputs stand.

    Args:
        outputs: of the model, in order.
        names: of those that are wanted, in the order that they are wanted in.

    Raises:
        MptqError: the model has no such output, one is named twice, or none is named.
    """
    own = [each.name for each in outputs]
    unknown = [name for name in names if name not in own]
    if unknown or not names:
        what = f"{unknown[0]}: the model has no such output" if unknown else "names no output"
        raise MptqError(f"--outputs {what}; it has {', '.join(own)}")
    if len(set(names)) != len(names):
        raise MptqError(f"--outputs {','.join(names)} names an output twice; name each once")
    return [own.index(name) for name in names]
