"""Random numbers of one generator, on its device."""

import torch
from torch import Tensor


class Chance:
    """Draws; all of a scene come from one generator, so a seed says all."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 in [low, high)."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """float32 with mean 0 and deviation 1."""
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def whole(self, *shape: int, end: int) -> Tensor:
        """int64 in 0..end - 1."""
        return torch.randint(end, shape, generator=self.generator, device=self.device)

    def yes(self, *shape: int, share: float) -> Tensor:
        """Bool, true with this probability."""
        return self.uniform(*shape) < share
