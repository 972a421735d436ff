"""Block-wise learned rounding (opt-in): gradient descent on the weight codes and biases of one block at a time.

As in BRECQ (arXiv 2102.05426) and QDrop (arXiv 2203.05740), a block is fitted to the float model's output of the block,
with the inputs that the quantized blocks before it give. Codes are learned with a straight-through estimator, from the
codes of the recipe; scales and activation quantizers stand. A block keeps its codes where the learned ones do
not help on images that were held out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.blocks import Block, split_blocks, trunk
from mptq_export.capture.calls import calls
from mptq_export.capture.evaluate import compute
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Graph
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant

#: Optimizer steps per block.
STEPS = 300

#: Images per step.
_BATCH = 16

#: Step size of the codes, in codes; a code changes when it has moved by half.
_CODE_RATE = 0.03

#: Step size of a bias, in standard deviations of the block's target.
_BIAS_RATE = 2e-3

#: One image of so many is held out.
_HELD_OUT = 4


class _StraightThrough(Simulator):
    """A simulator whose roundings let gradients pass; gradients end where a range is cut."""

    def steps(self, x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
        smooth = (x / quant.scale).clamp(quant.low - quant.zero_point, quant.high - quant.zero_point)
        return smooth + (super().steps(x.detach(), quant) - smooth).detach()

    def apply_activation(self, x: torch.Tensor, quant: ActivationQuant, function: Function) -> torch.Tensor:
        return FUNCTIONS[function].compute(self.fake_quantize(x, quant))

    def round(self, x: torch.Tensor) -> torch.Tensor:
        return x + (x.round() - x).detach()


def reconstruct(
    graph: Graph,
    recipe: Recipe,
    images: torch.Tensor,
    tick: Callable[[Block], None] | None = None,
    steps: int = STEPS,
) -> Recipe:
    """Learn the codes and biases of every block with weights below 8 bits.

    Args:
        graph: the graph of the recipe, its transforms applied, on the device that computes.
        recipe: a finished recipe.
        images: float32 calibration inputs on that device.
        tick: called after every block.
        steps: optimizer steps per block.

    Returns:
        A recipe with other codes and biases; their reasons say which layers were learned.
    """
    hard = Simulator.of(graph, recipe, images.device)
    exact, value = images, images
    weights = dict(recipe.weights)
    alone = {name for name, names in calls(graph).items() if len(names) == 1}  # else learned codes would be one call's
    for block in split_blocks(trunk(graph)):
        with torch.no_grad():
            target = _in_batches(block, exact, compute)
        names = [node.name for node in block.nodes if node.name in alone and weights[node.name].bits < 8]
        if names:
            fit = _BlockFit(graph, replace(recipe, weights=weights), block, value, target)
            for name, learned in fit.learn(names, steps).items():
                weights[name] = learned
                hard.set_weight(name, learned, images.device)
        with torch.no_grad():
            exact, value = target, _in_batches(block, value, hard.compute)
        if tick:
            tick(block)
    return replace(recipe, weights=weights)


def _in_batches(block: Block, value: torch.Tensor, compute_node: Callable[..., torch.Tensor]) -> torch.Tensor:
    return torch.cat([block.run(images, compute_node) for images in torch.split(value, _BATCH)])


@dataclass(frozen=True)
class _BlockFit:
    """One block and what it is fitted to.

    Attributes:
        graph: the graph of the recipe, its transforms applied.
        recipe: with the codes learned so far.
        block: the block.
        value: float32, what it reads behind the quantized blocks before it, all images.
        target: float32, what the float model gives there.
    """

    graph: Graph
    recipe: Recipe
    block: Block
    value: torch.Tensor
    target: torch.Tensor

    def learn(self, names: list[str], steps: int) -> dict[str, WeightQuant]:
        """New codes and biases of some layers of the block; empty where they do not help."""
        value, target, device = self.value, self.target, self.value.device
        weights = {name: self.recipe.weights[name] for name in names}
        simulator = _StraightThrough.of(self.graph, self.recipe, device)
        held_out = torch.arange(len(value), device=device) % _HELD_OUT == _HELD_OUT - 1
        fitting = (~held_out).nonzero()[:, 0]
        if len(fitting) == 0 or not bool(held_out.any()):
            return {}
        scales = {n: torch.from_numpy(quant.scale).to(device) for n, quant in weights.items()}
        codes = {n: torch.from_numpy(quant.codes).to(device).float().requires_grad_() for n, quant in weights.items()}
        biases = {n: torch.from_numpy(quant.bias).to(device).clone().requires_grad_() for n, quant in weights.items()}

        def install() -> None:
            for name, quant in weights.items():
                code_range = CodeRange.of(quant.bits, quant.form)
                inside = codes[name].clamp(code_range.low, code_range.high)
                simulator.weights[name] = (simulator.round(inside), scales[name], biases[name])

        def held_out_error() -> float:
            with torch.no_grad():
                install()
                found = _in_batches(self.block, value[held_out], simulator.compute)
                return float((found - target[held_out]).square().mean())

        before = held_out_error()
        spread = float(target.std())
        optimizer = torch.optim.Adam(
            [
                {"params": list(codes.values()), "lr": _CODE_RATE},
                {"params": list(biases.values()), "lr": _BIAS_RATE * spread},
            ]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            count = min(_BATCH, len(fitting))
            chosen = fitting[torch.randint(len(fitting), (count,), generator=generator).to(device)]
            install()
            loss = (self.block.run(value[chosen], simulator.compute) - target[chosen]).square().mean() / spread**2
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        after = held_out_error()
        if not after < before:
            return {}
        note = f"learned with its block: held-back error {before:.3g} -> {after:.3g}"
        return {
            name: replace(self._rounded(name, codes[name], biases[name]), reason=f"{quant.reason}; {note}")
            for name, quant in weights.items()
        }

    def _rounded(self, name: str, codes: torch.Tensor, bias: torch.Tensor) -> WeightQuant:
        """The layer with learned codes and bias, rounded as the file stores them."""
        quant = self.recipe.weights[name]
        code_range = CodeRange.of(quant.bits, quant.form)
        stored = codes.detach().clamp(code_range.low, code_range.high).round().to(torch.int8).cpu().numpy()
        # The file adds biases as whole steps of the int32 accumulator.
        step = torch.from_numpy(quant.scale).double() * self.recipe.activations[f"{name}.input"].scale
        rounded = ((bias.detach().cpu() / step).round() * step).float().numpy()
        return replace(quant, codes=stored, bias=rounded)
