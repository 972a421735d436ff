"""Block-wise learned rounding (opt-in): gradient descent on the weight codes and biases of one block at a time.

As in BRECQ (arXiv 2102.05426) and QDrop (arXiv 2203.05740), a block is fitted to the float model's output of the block,
with the inputs that the quantized blocks before it give. Codes are learned with a straight-through estimator, from the
codes of the recipe; scales and activation quantizers stand. A block keeps its codes where the learned ones do
not help on images that were held back.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from mptq_export.capture.activations import FUNCTIONS, Function
from mptq_export.capture.blocks import Block, split_blocks, trunk
from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.recipe.schema import ActivationQuant, Recipe, WeightQuant

#: Optimizer steps a block.
STEPS = 300

#: Images a step.
_BATCH = 16

#: Step size of the codes, in codes; a code changes when it has moved by half.
_CODE_RATE = 0.03

#: Step size of a bias, in standard deviations of the block's target.
_BIAS_RATE = 2e-3

#: One image of so many is held back.
_HELD = 4


class _Straight(Simulator):
    """A simulator whose roundings let gradients pass; gradients end where a range is cut."""

    def steps(self, x: torch.Tensor, quant: ActivationQuant) -> torch.Tensor:
        smooth = (x / quant.scale).clamp(quant.low - quant.zero_point, quant.high - quant.zero_point)
        return smooth + (super().steps(x.detach(), quant) - smooth).detach()

    def activated(self, x: torch.Tensor, quant: ActivationQuant, function: Function) -> torch.Tensor:
        return FUNCTIONS[function].compute(self.quantized(x, quant))

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
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
        steps: optimizer steps a block.

    Returns:
        A recipe with other codes and biases; their reasons say which layers were learned.
    """
    hard = Simulator.of(graph, recipe, images.device)
    exact, value = images, images
    weights = dict(recipe.weights)
    for block in split_blocks(trunk(graph)):
        with torch.no_grad():
            target = _in_batches(block, exact, compute)
        names = [node.name for node in block.nodes if node.name in weights and weights[node.name].bits < 8]
        if names:
            for name, learned in _learned(graph, recipe, block, names, weights, value, target, steps).items():
                weights[name] = learned
                hard.set_weight(name, learned, images.device)
        with torch.no_grad():
            exact, value = target, _in_batches(block, value, hard.compute)
        if tick:
            tick(block)
    return replace(recipe, weights=weights)


def _in_batches(block: Block, value: torch.Tensor, compute_node: Callable[..., torch.Tensor]) -> torch.Tensor:
    return torch.cat([block.run(part, compute_node) for part in torch.split(value, _BATCH)])


def _learned(
    graph: Graph,
    recipe: Recipe,
    block: Block,
    names: list[str],
    weights: dict[str, WeightQuant],
    value: torch.Tensor,
    target: torch.Tensor,
    steps: int,
) -> dict[str, WeightQuant]:
    """New codes and biases of one block; empty where they do not help."""
    device = value.device
    simulator = _Straight.of(graph, replace(recipe, weights=weights), device)
    held = torch.arange(len(value), device=device) % _HELD == _HELD - 1
    fit = (~held).nonzero()[:, 0]
    if len(fit) == 0 or not bool(held.any()):
        return {}
    scales = {n: torch.from_numpy(weights[n].scale).to(device) for n in names}
    codes = {n: torch.from_numpy(weights[n].codes).to(device).float().requires_grad_() for n in names}
    biases = {n: torch.from_numpy(weights[n].bias).to(device).clone().requires_grad_() for n in names}

    def install() -> None:
        for name in names:
            span = CodeRange.of(weights[name].bits)
            inside = codes[name].clamp(span.low, span.high)
            simulator.weights[name] = (simulator.rounded(inside), scales[name], biases[name])

    def held_error() -> float:
        with torch.no_grad():
            install()
            found = _in_batches(block, value[held], simulator.compute)
            return float((found - target[held]).square().mean())

    before = held_error()
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
        chosen = fit[torch.randint(len(fit), (min(_BATCH, len(fit)),), generator=generator).to(device)]
        install()
        loss = (block.run(value[chosen], simulator.compute) - target[chosen]).square().mean() / spread**2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    after = held_error()
    if not after < before:
        return {}
    note = f"learned with its block: held-back error {before:.3g} -> {after:.3g}"
    return {n: _stored(recipe, weights[n], n, codes[n], biases[n], note) for n in names}


def _stored(
    recipe: Recipe, quant: WeightQuant, name: str, codes: torch.Tensor, bias: torch.Tensor, note: str
) -> WeightQuant:
    span = CodeRange.of(quant.bits)
    whole = codes.detach().clamp(span.low, span.high).round().to(torch.int8).cpu().numpy()
    # The file adds biases as whole steps of the int32 accumulator.
    step = torch.from_numpy(quant.scale).double() * recipe.activations[f"{name}.input"].scale
    rounded = ((bias.detach().cpu() / step).round() * step).float().numpy()
    return replace(quant, codes=whole, bias=rounded, reason=f"{quant.reason}; {note}")
