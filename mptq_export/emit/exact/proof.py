"""The ledger of what makes the file exact: every claim is checked when it is made, and kept for the recipe.

It is the ledger of this form alone: each claim is a reason why the bits of this form are the same everywhere, and names
what this form is made of (sums of squares, score codes, streams on a grid). Another form promises something else.
"""

from enum import Enum

from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.quantize.certification.certify import Results
from mptq_export.recipe.schema import ActivationQuant, Claim, Relation
from mptq_export.support.errors import MptqError

INT32 = float(2**31 - 1)
FLOAT32_INTEGER = float(2**24)
FLOAT64_INTEGER = float(2**53)

#: What to do where a function's results are not clear of a rounding boundary.
NOT_CERTIFIED = "the recipe is not certified for this layer: export again without --recipe"


class Quantity(Enum):
    """All that claims are about: what recipes call it (`{}` is the site or the function), and its side of the limit."""

    ACCUMULATOR = ("int32 accumulator", "at most")
    WEIGHT_CODE = ("int8 weight code magnitude", "at most")
    PAIR_SUM = ("int16 pair sum of u8 x s8 kernels", "at most")
    ACTIVATION_CODE = ("activation code of {}", "at most")
    RESIDUAL = ("residual in grid steps", "at most")
    SQUARES = ("float64 sum of squares", "at most")
    VARIANCE_ROUNDING = ("rounding of a variance", "at most")
    TOKENS_FLOAT32 = ("float32 sum of tokens", "at most")
    TOKENS_FLOAT64 = ("float64 sum of tokens", "at most")
    ATTENTION_SUM = ("float32 sum of attention codes", "at most")
    ATTENTION_ZERO_POINT = ("zero point of attention codes", "at most")
    ATTENTION_PEAK = ("attention code of a row's maximum", "at least")
    SCORE_MANTISSA = ("score codes times mantissa", "at most")
    MARGIN = ("{} margin in steps", "at least")
    ASSUMED_ERROR = ("assumed error of {} over the distance to a boundary", "at most")

    def __init__(self, text: str, relation: Relation) -> None:
        self.text = text
        self.relation = relation

    def is_of(self, claim: Claim) -> bool:
        """Whether a claim is about this quantity, of whatever site or function."""
        before, named, after = self.text.partition("{}")
        if not named:
            return claim.what == self.text
        least = len(before) + len(after)
        return claim.what.startswith(before) and claim.what.endswith(after) and len(claim.what) > least

    @staticmethod
    def kind_of(claim: Claim) -> str:
        """What claims of a kind are called together: that of codes names a site each, all else is its own kind."""
        return "activation code" if Quantity.ACTIVATION_CODE.is_of(claim) else claim.what


class Proof:
    """Collects claims; a claim that does not hold refuses the export."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []

    def claim(self, layer: str, quantity: Quantity, value: float, limit: float, *, advice: str, of: str = "") -> None:
        """Claim that a quantity is on its side of a limit, or at it.

        Args:
            layer: where.
            quantity: what is claimed.
            value: the worst that it can be.
            limit: what it must not pass.
            advice: what to do where it does not hold.
            of: the site or the function, where the quantity names one.

        Raises:
            MptqError: it does not hold; the message ends with `advice`.
        """
        what, at_most = quantity.text.format(of), quantity.relation == "at most"
        if not (value <= limit if at_most else value >= limit):
            found = (
                f"can reach {value:.4g}, the limit is {limit:.4g}" if at_most else f"is {value:.4g}, below {limit:.4g}"
            )
            raise MptqError(f"{layer} cannot be proved exact: {what} {found}; {advice}")
        self.claims.append(Claim(layer, what, float(value), float(limit), quantity.relation))

    def claim_certain(self, layer: str, function: str, results: Results, quant: ActivationQuant) -> None:
        """Claim that every code of a function's results is certain, whatever runtime computes the function.

        Args:
            layer: the layer.
            function: as claims name it.
            results: all that the function can give.
            quant: the quantizer of the results.
        """
        margin, exposure = results.margin(quant), results.exposure(quant)
        self.claim(layer, Quantity.MARGIN, margin, MARGIN, advice=NOT_CERTIFIED, of=function)
        self.claim(layer, Quantity.ASSUMED_ERROR, exposure, 1.0, advice=NOT_CERTIFIED, of=function)
