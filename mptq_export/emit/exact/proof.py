"""The ledger of what makes the file exact: every claim is checked when it is made, and kept for the recipe."""

from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant, Claim
from mptq_export.support.errors import MptqError

INT32 = float(2**31 - 1)
FLOAT32_INTEGER = float(2**24)
FLOAT64_INTEGER = float(2**53)


class Proof:
    """Collects claims; a claim that does not hold refuses the export."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []

    def at_most(self, layer: str, what: str, value: float, limit: float, advice: str) -> None:
        """Claim `value <= limit`.

        Raises:
            MptqError: it does not hold; the message ends with `advice`.
        """
        if not value <= limit:
            raise MptqError(
                f"{layer} cannot be proved exact: {what} can reach {value:.4g}, the limit is {limit:.4g}; {advice}"
            )
        self.claims.append(Claim(layer, what, float(value), float(limit), "at most"))

    def at_least(self, layer: str, what: str, value: float, limit: float, advice: str) -> None:
        """Claim `value >= limit`; arguments and errors as for `at_most`."""
        if not value >= limit:
            raise MptqError(f"{layer} cannot be proved exact: {what} is {value:.4g}, below {limit:.4g}; {advice}")
        self.claims.append(Claim(layer, what, float(value), float(limit), "at least"))

    def certain(self, layer: str, op: str, results: Results, quant: ActivationQuant) -> None:
        """Claim that every code of a function's results is certain, whatever runtime computes the function.

        Args:
            layer: the layer.
            op: the function, as claims name it.
            results: all that the function can give.
            quant: the quantizer of the results.
        """
        advice = "the recipe is not certified for this layer: export again without --recipe"
        self.at_least(layer, f"{op} margin in steps", results.margin(quant), MARGIN, advice)
        exposure = results.exposure(quant)
        self.at_most(layer, f"assumed error of {op} over the distance to a boundary", exposure, 1.0, advice)
