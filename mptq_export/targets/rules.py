"""Each rule of the capability table: what an export for a target must be, or a refusal that names the rule."""

from collections.abc import Iterable

import onnx

from mptq_export.recipe.settings import WeightStorage
from mptq_export.support.errors import MptqError
from mptq_export.targets.table import TARGETS


def check_target(name: str, storage: WeightStorage | None, widths: Iterable[tuple[int, int]]) -> None:
    """Refuse what a target cannot take, before anything is computed.

    Args:
        name: of the target.
        storage: form of stored weights that was asked for; None where none was.
        widths: (weights, activations) of layers, as far as they are known.

    Raises:
        MptqError: a rule is broken; the message begins with its name.
    """
    if name not in TARGETS:
        raise MptqError(f"--target {name} is not known; choose one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if not target.zero_points:
        raise _broken(name, "symmetric", "codes must have zero point 0, those of norms, GELU and attention here do not")
    if storage is not None and storage not in target.storages:
        raise _broken(name, "weight storage", f"{storage} weights are not taken, {' or '.join(target.storages)} are")
    for pair in widths:
        if any(bits < least for bits, least in zip(pair, target.least_bits, strict=True)):
            least = "{}/{}".format(*target.least_bits)
            raise _broken(name, "widths", "{}/{} is narrower than ".format(*pair) + f"{least} (weights/activations)")


def storage_for(name: str, asked: WeightStorage | None, stored: WeightStorage | None = None) -> WeightStorage:
    """The form of stored weights: what was asked for, else a recipe's if the target takes it, else the target's own."""
    storages = TARGETS[name].storages
    return asked or (stored if stored in storages else storages[0])


def warnings_of(name: str) -> tuple[str, ...]:
    """What must be known before a file for a target is used there, a sentence each."""
    return tuple(filter(None, (TARGETS[name].warning,)))


def fix_batch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """An emitted model, with a batch of one and every shape fixed where a target must have that."""
    if not TARGETS[name].fixed_batch:
        return model
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _broken(name: str, rule: str, why: str) -> MptqError:
    return MptqError(f"rule {rule!r} of --target {name}: {why}; docs/runtimes.md lists the rules of every target")
