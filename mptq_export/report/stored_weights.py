"""What the weight codes of an exact file take, as they are stored."""

from dataclasses import dataclass

from mptq_export.emit.exact.weight_storage import stored_bytes
from mptq_export.recipe.schema import ExportRecipe
from mptq_export.recipe.weight_levels import outliers


@dataclass(frozen=True)
class StoredWeights:
    """All weight codes of a file.

    Attributes:
        nbytes: they take, outliers and what unpacks them counted; rather too many than too few.
        count: of codes.
        outliers: how many of them lie outside the core of their layer.
    """

    nbytes: int
    count: int
    outliers: int

    @staticmethod
    def of(recipe: ExportRecipe) -> "StoredWeights":
        """Those of the exact form, in the storage that was asked for."""
        weights = recipe.own_weights.values()
        packed = recipe.settings.weight_storage == "packed"
        return StoredWeights(
            nbytes=sum(stored_bytes(quant) if packed else quant.codes.size for quant in weights),
            count=sum(quant.codes.size for quant in weights),
            outliers=sum(int(outliers(quant).sum()) for quant in weights),
        )

    def __str__(self) -> str:
        """For people."""
        few = f" ({self.outliers / self.count:.2%} outliers)" if self.outliers else ""
        return f"weights {self.nbytes / 1e6:.2f} MB, {8 * self.nbytes / max(self.count, 1):.2f} bits each{few}"
