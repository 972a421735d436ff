"""Bias correction: the bias with which a layer gives the mean of its target, whatever its weights were rounded to."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BiasCorrection:
    """What a layer leaves to be corrected on average; everything is float64.

    Attributes:
        weight: W, [N, K].
        bias: b, [N].
        mean_input: mean of what it reads, [K].
        mean_error: mean of what its output lacks with W and b, [N].
    """

    weight: torch.Tensor
    bias: torch.Tensor
    mean_input: torch.Tensor
    mean_error: torch.Tensor

    def bias_for(self, weight: torch.Tensor) -> torch.Tensor:
        """The bias with which `weight` gives the mean of the target, [N]."""
        return self.bias + (self.weight - weight.double()) @ self.mean_input + self.mean_error
