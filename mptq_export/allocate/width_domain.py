"""The widths that a search may choose from: weights and activations each have their own."""

from dataclasses import dataclass

from mptq_export.recipe.schema import WIDTHS
from mptq_export.support.errors import MptqError
from mptq_export.targets.portable import PortableForm


@dataclass(frozen=True)
class WidthDomain:
    """Widths to choose from, rising.

    Attributes:
        weights: of weights.
        activations: of activations.
    """

    weights: tuple[int, ...]
    activations: tuple[int, ...]

    @staticmethod
    def of_range(bits: range) -> "WidthDomain":
        """Every width of a range, for both: what the exact form has."""
        return WidthDomain(tuple(bits), tuple(bits))

    @staticmethod
    def of_form(form: PortableForm, bits: range | None = None) -> "WidthDomain":
        """The widths that a runtime computes in.

        Args:
            form: how its files are written.
            bits: only those in this range; None: all.
        """
        weights, activations = (
            tuple(sorted(width for width in widths if bits is None or width in bits))
            for widths in (form.weight_bits, form.activation_bits)
        )
        return WidthDomain(weights, activations)

    @property
    def alike(self) -> bool:
        """Whether weights and activations have the same widths: then one number can be a bound of both."""
        return self.weights == self.activations

    @property
    def lowest(self) -> tuple[int, int]:
        """The narrowest (weights, activations)."""
        return self.weights[0], self.activations[0]

    @property
    def highest(self) -> tuple[int, int]:
        """The widest (weights, activations)."""
        return self.weights[-1], self.activations[-1]

    @property
    def ends(self) -> tuple[int, int]:
        """The narrowest and the widest of all."""
        return min(self.lowest), max(self.highest)

    def __str__(self) -> str:
        """The widths in a few words: `3-8`, or `4,8/8,16` (weights/activations)."""
        if self.alike and self.weights == tuple(range(self.weights[0], self.weights[-1] + 1)):
            return f"{self.weights[0]}-{self.weights[-1]}"
        return "/".join(",".join(map(str, widths)) for widths in (self.weights, self.activations))


def width_domain(target: str | None, form: PortableForm | None, bits: range | None) -> WidthDomain:
    """What a search for a target chooses from.

    Args:
        target: its name, for the refusal; None where none was asked for.
        form: how its files are written, where that is the portable form; None: the exact form.
        bits: `--mixed-range`; None where it was not given.

    Raises:
        MptqError: there is nothing to choose.
    """
    if form is None:
        if bits is not None and bits[-1] not in WIDTHS:
            raise MptqError(
                f"--mixed-range {bits[0]}-{bits[-1]} is not LO-HI with 2 <= LO < HI <= 8, for example 3-8; only a "
                "--target with activations of 16 bits, such as qnn, has more"
            )
        return WidthDomain.of_range(bits or DEFAULT_RANGE)
    found = WidthDomain.of_form(form, bits)
    runs = WidthDomain.of_form(form)
    if not found.weights or not found.activations or len(found.weights) == len(found.activations) == 1:
        asked = "--mixed" if bits is None else f"--mixed-range {bits[0]}-{bits[-1]}"
        remedy = "leave --mixed out" if len(runs.weights) == len(runs.activations) == 1 else "leave --mixed-range out"
        raise MptqError(
            f"rule 'widths' of --target {target}: {asked} leaves a search nothing to choose: it runs weights of "
            f"{_listed(runs.weights)} bits and activations of {_listed(runs.activations)}; {remedy}"
        )
    return found


#: Of a search in the exact form: what `--mixed-range` is where it is not given.
DEFAULT_RANGE = range(2, 9)


def _listed(widths: tuple[int, ...]) -> str:
    return " or ".join(map(str, widths))
