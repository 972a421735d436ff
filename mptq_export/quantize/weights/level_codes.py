"""Weight codes that are core levels, and outliers beyond them at a price, as rounding chooses among them.

The nearest level is looked up: the border between two levels is a whole or a half number, so all numbers between two
neighbouring halves have the same one.
"""

from dataclasses import dataclass, replace

import torch

from mptq_export.recipe.schema import WeightQuant, WeightRegions
from mptq_export.recipe.weight_levels import outliers, reachable

#: Numbers beyond it, in codes, have the level that it has.
_REACH = 128


@dataclass(frozen=True)
class LevelCodes:
    """The codes of a weight.

    Attributes:
        core: core level of every half number, [4 * 128].
        beyond: nearest code of every half number, outliers among them, [4 * 128]; None where there are none.
        price: what an outlier has to save of the error `(w - q s) H (w - q s)^T`, in squared codes of every row:
            float64 [M]; empty before rows are known.
    """

    core: torch.Tensor
    beyond: torch.Tensor | None
    price: torch.Tensor

    @staticmethod
    def of(regions: WeightRegions, device: torch.device, dtype: torch.dtype = torch.float64) -> "LevelCodes":
        """The tables of levels, before rows are known."""
        core = _nearest_of_halves(list(regions.levels)).to(device, dtype)
        beyond = _nearest_of_halves(reachable(regions)).to(device, dtype) if regions.shift else None
        return LevelCodes(core, beyond, torch.zeros(0, dtype=dtype, device=device))

    def at(self, scale: torch.Tensor, price: float) -> "LevelCodes":
        """The codes of rows.

        Args:
            scale: of the rows, [M].
            price: of an outlier, in units of the error.
        """
        return replace(self, price=price / scale.to(self.core.dtype).square())

    def of_rows(self, start: int, stop: int, added: int = 0) -> "LevelCodes":
        """Those of some of the rows, and of so many behind them to which outliers cost nothing."""
        return replace(self, price=torch.nn.functional.pad(self.price[start:stop], (0, added)))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All of them: two without outliers, three with."""
        return (self.core, self.price) if self.beyond is None else (self.core, self.price, self.beyond)

    @staticmethod
    def of_tensors(tensors: tuple[torch.Tensor, ...]) -> "LevelCodes":
        """The codes that have these `tensors`."""
        core, price, *beyond = tensors
        return LevelCodes(core, beyond[0] if beyond else None, price)

    def nearest(self, value: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
        """The code of every row with the least error, the price of outliers counted.

        Args:
            value: in codes, [M].
            importance: what a squared error of 1 costs there, a scalar.

        Returns:
            [M].
        """
        place = _place(value)
        code = self.core.index_select(0, place)
        if self.beyond is None:
            return code
        further = self.beyond.index_select(0, place)
        saved = (value - code).square_().sub_((value - further).square_()).mul_(importance)
        return torch.where(saved > self.price, further, code)

    def least_error(self, values: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
        """The error of every row with the best code for each element, the price of outliers counted.

        Args:
            values: in codes, [M, K].
            importance: what a squared error of 1 costs in every column, [K].

        Returns:
            In squared codes, float64 [M].
        """
        place = _place(values).view(-1)
        error = (values - self.core.index_select(0, place).view(values.shape)).square_().mul_(importance)
        if self.beyond is not None:
            further = self.beyond.index_select(0, place).view(values.shape)
            error = torch.minimum(error, (values - further).square_().mul_(importance).add_(self.price[:, None]))
        return error.double().sum(1)


def nearest_levels(values: torch.Tensor, quant: WeightQuant) -> torch.Tensor:
    """The nearest core level of every value.

    Args:
        values: in codes, any shape.
        quant: a layer with regions.

    Returns:
        Whole numbers, the type and shape of `values`.
    """
    assert quant.regions is not None
    core = LevelCodes.of(quant.regions, values.device, values.dtype).core
    return core.index_select(0, _place(values).view(-1)).view(values.shape)


def outlier_mask(quant: WeightQuant, device: torch.device) -> torch.Tensor:
    """Which codes of a layer are outliers: bool [N, K]."""
    return torch.from_numpy(outliers(quant)).to(device)


def _place(value: torch.Tensor) -> torch.Tensor:
    """Where a table of halves has a number: int32, contiguous."""
    return (value * 2).floor_().clamp_(-2 * _REACH, 2 * _REACH - 1).add_(2 * _REACH).to(torch.int32).contiguous()


def _nearest_of_halves(codes: list[int]) -> torch.Tensor:
    """The nearest of some codes to the numbers of every half from -128 to 128: float64 [512]."""
    choices = torch.tensor(codes, dtype=torch.float64)
    middle = (torch.arange(-2 * _REACH, 2 * _REACH, dtype=torch.float64) + 0.5) / 2
    return choices[(middle[:, None] - choices).abs().argmin(1)]
