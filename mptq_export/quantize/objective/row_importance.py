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
from mptq_export.capture.ops import Input, Linear, PatchEmbed
from mptq_export.quantize.objective.divergence import hessian_draw, hessian_noise
from mptq_export.recipe.metric import MetricName
from mptq_export.support.memory import trim
from mptq_export.support.processes.group import Alone, Group, Seat

#: Share of the weight that all rows get alike.
_EQUAL = 0.5

_Layers = Linear | PatchEmbed

#: Bytes that values held for a backward pass may take together.
_MOST = 4e9

#: The same of a whole model, its weights among them: what has more goes block by block, which computes it twice.
_WHOLE = 1e9

#: The same of some images of such a model, if they are more than one: more at once are no faster.
_AT_ONCE = 3e8

_COMPUTE = computed_in(torch.float64)


def row_importance(
    graph: Graph,
    batches: Iterable[torch.Tensor],
    blocks: Sequence[Block] | None = None,
    metric: MetricName | None = None,
    *,
    group: Group | None = None,
) -> dict[str, torch.Tensor]:
    """How much the rows of every linear layer and patch embedding count.

    Args:
        graph: prepared canonical graph, on the device of the batches.
        batches: calibration inputs, in order.
        blocks: the graph cut into blocks, one of which at a time is kept for the backward pass; None cuts it, if it is
            too large to be kept as one.
        metric: by which the outputs are compared; None takes that of their kinds.
        group: processes that share the batches; None: this one alone.

    Returns:
        For each layer by name: float64 [rows], mean 1 over all calls of the layer, rows in the order of the batches.
        Computed in float64, because which rows are drawn and how weights are rounded would else depend on the order of
        sums.
    """
    shares = (group or Alone()).call(_share, graph, list(batches), blocks, metric)
    squares = [of_batch for share in shares for of_batch in share]
    layers = [node.name for node in graph if isinstance(node.op, _Layers)]
    gradients = {name: torch.cat([part for of_batch in squares for part in of_batch[name]]) for name in layers}
    called = calls(graph)
    return {name: _mixed(square, [gradients[call] for call in called[name]]) for name, square in gradients.items()}


_Squares = dict[str, list[torch.Tensor]]
"""Of the rows of every layer `|g|^2`, float64 [rows] of some images after those of others."""


def _share(
    seat: Seat, graph: Graph, batches: list[torch.Tensor], blocks: Sequence[Block] | None, metric: MetricName | None
) -> list[_Squares]:
    """Those of each of this process's batches; the numbers that are drawn for a batch are the same in all of them."""
    blocks = blocks or _whole(graph) or split_blocks(graph, whole=True)
    generator = torch.Generator().manual_seed(0)
    own, found = seat.share(range(len(batches))), []
    for number, images in enumerate(batches):
        noise = hessian_noise(graph, len(images), generator)
        if number in own:
            found.append(_squares(graph, blocks, images, noise, metric))
            trim()  # a batch of a large model leaves a gigabyte in pieces that the next one does not fit into
            seat.bar.advance(1 / len(own))
    return found


def _squares(
    graph: Graph, blocks: Sequence[Block], images: torch.Tensor, noise: torch.Tensor, metric: MetricName | None
) -> _Squares:
    """Those of one batch."""
    squares: _Squares = {node.name: [] for node in graph if isinstance(node.op, _Layers)}
    most = _AT_ONCE if len(blocks) == 1 else _MOST
    with torch.no_grad():
        sources = [images.double()]
        for block in blocks[:-1]:
            sources.append(block.run(sources[-1], _COMPUTE))
    gradient: torch.Tensor | None = None
    for block in reversed(blocks):
        source = sources.pop()
        moved: list[torch.Tensor] = []
        at_once = images_at_once(block.numbers, most)
        given = noise if gradient is None else gradient
        parts = (torch.split(x, at_once * (len(x) // len(images))) for x in (source, given))
        for some, part in zip(*parts, strict=True):
            result, layers = _tracked(block, some.requires_grad_(bool(sources)))
            at_result = hessian_draw(graph, result, part, metric) if gradient is None else part
            wanted = [some, *layers.values()] if sources else list(layers.values())
            found = torch.autograd.grad(result, wanted, at_result) if wanted else ()
            moved += found[: len(found) - len(layers)]
            for name, at_layer in zip(layers, found[len(found) - len(layers) :], strict=True):
                squares[name].append(at_layer.square().sum(-1).reshape(-1))
        gradient = torch.cat(moved) if moved else None  # of the images nothing is asked
    return squares


def images_at_once(numbers: int, most: float | None = None) -> int:
    """How many images are computed at once with all values held: as many as memory should hold, or one.

    Args:
        numbers: values of one image, float64.
        most: bytes that they may take.
    """
    return max(1, int((_MOST if most is None else most) / (8 * max(numbers, 1))))


def _whole(graph: Graph) -> list[Block]:
    """The whole graph as one block, which is computed once where blocks are computed twice; none if it is too large."""
    everything = Block(graph.input.name, tuple(n for n in graph if not isinstance(n.op, Input)), graph.output)
    weights = sum(value.numel() for node in graph for value in node.params.values())
    return [everything] if 8 * (everything.numbers + weights) <= _WHOLE else []


def _tracked(block: Block, source: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A block's result and what its layers give by name, with gradients to come.

    Memory never holds more than one block of what the backward pass needs.
    """
    layers: dict[str, torch.Tensor] = {}

    def tracked(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
        value = _COMPUTE(node, inputs)
        if isinstance(node.op, _Layers):
            layers[node.name] = value if value.requires_grad else value.requires_grad_()
        return value

    with torch.enable_grad():
        return block.run(source, tracked), layers


def _mixed(square: torch.Tensor, calls: list[torch.Tensor]) -> torch.Tensor:
    mean = square.mean() if len(calls) == 1 else torch.cat(calls).mean()
    return _EQUAL + (1 - _EQUAL) * square / mean if float(mean) > 0 else torch.ones_like(square)
