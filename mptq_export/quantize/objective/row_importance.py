"""How much the outputs depend on every row (token) of every layer: weights for errors.

An error e of a layer's output changes the divergence of the outputs (`divergence.py`) by about `(g . e)^2 / 2` with g
the gradient of `v . outputs` and v drawn with the Hessian of the divergence as covariance (Gauss-Newton). A row counts
as `|g|^2`, mixed with an equal share for all rows, because one draw per image is a noisy estimate.
"""

from collections.abc import Iterable, Sequence

import torch

from mptq_export.capture.blocks import Block, split_blocks
from mptq_export.capture.calls import calls
from mptq_export.capture.evaluate import computed_in
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Linear, PatchEmbed
from mptq_export.quantize.objective.divergence import hessian_draw
from mptq_export.recipe.metric import MetricName

#: Share of the weight that all rows get alike.
_EQUAL = 0.5

_Layers = Linear | PatchEmbed

#: Bytes that values held for a backward pass may take together.
_MOST = 4e9

_COMPUTE = computed_in(torch.float64)


def row_importance(
    graph: Graph,
    batches: Iterable[torch.Tensor],
    blocks: Sequence[Block] | None = None,
    metric: MetricName | None = None,
) -> dict[str, torch.Tensor]:
    """How much the rows of every linear layer and patch embedding count.

    Args:
        graph: prepared canonical graph, on the device of the batches.
        batches: calibration inputs, in order.
        blocks: the graph cut into blocks, one of which at a time is kept for the backward pass; None cuts it.
        metric: by which the outputs are compared; None takes that of their kinds.

    Returns:
        For each layer by name: float64 [rows], mean 1 over all calls of the layer, rows in the order of the batches.
        Computed in float64, because which rows are drawn and how weights are rounded would else depend on the order of
        sums.
    """
    squares: dict[str, list[torch.Tensor]] = {node.name: [] for node in graph if isinstance(node.op, _Layers)}
    generator = torch.Generator().manual_seed(0)
    blocks = blocks or split_blocks(graph, whole=True)
    for images in batches:
        with torch.no_grad():
            sources = [images.double()]
            for block in blocks:
                sources.append(block.run(sources[-1], _COMPUTE))
        gradient = hessian_draw(graph, sources.pop(), generator, metric)
        for block in reversed(blocks):
            source, moved = sources.pop().detach(), []
            at_once = images_at_once(block.numbers)
            parts = (torch.split(x, at_once * (len(x) // len(images))) for x in (source, gradient))
            for some, at_result in zip(*parts, strict=True):
                first, found = _block_gradients(block, some.requires_grad_(), at_result)
                moved.append(first)
                for name, at_layer in found.items():
                    squares[name].append(at_layer.square().sum(-1).reshape(-1))
            gradient = torch.cat(moved)
    gradients = {name: torch.cat(of_batches) for name, of_batches in squares.items()}
    called = calls(graph)
    return {name: _mixed(square, [gradients[call] for call in called[name]]) for name, square in gradients.items()}


def images_at_once(numbers: int) -> int:
    """How many images are computed at once with all values held: as many as memory should hold, or one.

    Args:
        numbers: values of one image, float64.
    """
    return max(1, int(_MOST / (8 * max(numbers, 1))))


def _block_gradients(
    block: Block, source: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Gradients at a block's source and at its layers, from the one at its result.

    The block is computed again for it, so that memory never holds more than one block of what the backward pass needs.
    """
    layers: dict[str, torch.Tensor] = {}

    def tracked(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        value = _COMPUTE(node, inputs)
        if isinstance(node.op, _Layers):
            layers[node.name] = value
        return value

    with torch.enable_grad():
        result = block.run(source, tracked)
        first, *others = torch.autograd.grad(result, [source, *layers.values()], gradient)
    return first, dict(zip(layers, others, strict=True))


def _mixed(square: torch.Tensor, calls: list[torch.Tensor]) -> torch.Tensor:
    mean = square.mean() if len(calls) == 1 else torch.cat(calls).mean()
    return _EQUAL + (1 - _EQUAL) * square / mean if float(mean) > 0 else torch.ones_like(square)
