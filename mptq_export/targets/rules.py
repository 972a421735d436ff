"""Each rule of the capability table: what an export for a target must be, or a refusal that names the rule."""

from collections.abc import Iterable

from mptq_export.recipe.schema import WIDTHS
from mptq_export.recipe.settings import WeightStorage
from mptq_export.support.errors import MptqError
from mptq_export.targets.portable import PortableForm
from mptq_export.targets.table import TARGETS

#: Width of a residual that has no codes.
FLOAT_BITS = 32


def check_target(
    name: str,
    storage: WeightStorage | None,
    widths: Iterable[tuple[int, int]],
    residual: int | None = None,
) -> None:
    """Refuse what a target cannot take, before anything is computed.

    Args:
        name: of the target.
        storage: form of stored weights that was asked for; None where none was.
        widths: (weights, activations) of layers, as far as they are known.
        residual: width of the residual that was asked for; None where none was.

    Raises:
        MptqError: a rule is broken; the message begins with its name.
    """
    if name not in TARGETS:
        raise MptqError(f"--target {name} is not known; choose one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if storage is not None and storage not in target.storages:
        raise _broken(name, "weight storage", f"{storage} weights are not taken, {' or '.join(target.storages)} are")
    if target.portable is not None:
        _check_portable(name, target.portable, widths, residual)
        return
    if residual is not None:
        raise _broken(name, "residual", "its residual is a grid of whole numbers; leave --residual-bits out")
    for weights, activations in widths:
        if activations not in WIDTHS:
            raise _broken(name, "widths", f"{weights}/{activations} is wider than 8/8 (weights/activations)")


def residual_bits(name: str | None, asked: int | None) -> int:
    """Width of the residual: what was asked for, else the best that the target has; 16 in the exact form.

    Where a target has codes on what matmuls read alone, the residual is a float: `FLOAT_BITS`.
    """
    form = None if name is None else TARGETS[name].portable
    if form is None:
        return 16
    return asked or next(iter(form.residual_bits), FLOAT_BITS)


def storage_for(name: str, asked: WeightStorage | None, stored: WeightStorage | None = None) -> WeightStorage:
    """The form of stored weights: what was asked for, else a recipe's if the target takes it, else the target's own."""
    storages = TARGETS[name].storages
    return asked or (stored if stored in storages else storages[0])


def warnings_of(name: str) -> tuple[str, ...]:
    """What must be known before a file for a target is used there, a sentence each."""
    return tuple(filter(None, (TARGETS[name].warning,)))


def _check_portable(name: str, form: PortableForm, widths: Iterable[tuple[int, int]], residual: int | None) -> None:
    for weights, activations in widths:
        for what, bits, taken in (
            ("weight widths", weights, form.weight_bits),
            ("activation widths", activations, form.activation_bits),
        ):
            if bits not in taken:
                nearest = _nearest(taken, bits)
                why = f"{weights}/{activations}: {bits} bits are not taken, the nearest that are is {nearest}"
                raise _broken(name, what, why)
    if residual is not None and residual not in form.residual_bits:
        instead = f"{_either(form.residual_bits)} are" if form.residual_bits else "it is a float there"
        raise _broken(name, "residual", f"{residual} bits are not taken, {instead}")


def _nearest(taken: tuple[int, ...], bits: int) -> int:
    return min(taken, key=lambda each: abs(each - bits))


def _either(bits: tuple[int, ...]) -> str:
    return " or ".join(map(str, bits))


def _broken(name: str, rule: str, why: str) -> MptqError:
    return MptqError(f"rule {rule!r} of --target {name}: {why}; docs/edge.md lists the rules of every target")
