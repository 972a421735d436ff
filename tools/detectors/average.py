"""An exponential moving average of a model's weights, which is what is kept."""

import torch
from torch import Tensor, nn

DECAY = 0.999


class AveragedWeights:
    """The average of every floating-point tensor in a model's state; fast at first, then over 1 / (1 - DECAY) steps."""

    def __init__(self, model: nn.Module) -> None:
        self.steps = 0
        self.live = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        self.average = {name: tensor.detach().clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.steps += 1
        decay = min(DECAY, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), 1 - decay)

    def half(self) -> dict[str, Tensor]:
        """The average as a checkpoint has it: float16, on the CPU."""
        return {name: tensor.half().cpu().contiguous() for name, tensor in self.average.items()}
