"""Distances of one output from the float model's, with the second derivative at the float model's output.

Each gives a number an image, and a random vector whose covariance is that second derivative (the Hessian); for all of
them it is also the Gauss-Newton matrix, because the distance and its gradient are 0 where both are equal.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mptq_export.recipe.metric import DistanceName
from mptq_export.recipe.outputs import OutputKind

#: An output of zeros has no relative error, and no direction.
_SMALLEST = 1e-20


@dataclass(frozen=True)
class ClosedForm:
    """One distance.

    Attributes:
        distance: [B] from the exact and the found output, both float64 [B, values].
        draw: from the exact output, standard normal noise like it and a number n a vector [B, values] whose covariance
            is 1/n of the Hessian.
    """

    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    draw: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


def closed_form(metric: DistanceName | None, kind: OutputKind, dims: tuple[int, ...]) -> ClosedForm:
    """The distance for an output.

    Args:
        metric: which; None takes the one of the kind.
        kind: of the output.
        dims: its sizes for one image, the batch axis first.
    """
    name = metric or _OF_KIND[kind]
    if name == "kl":
        if kind == "scores":
            return ClosedForm(_sigmoid_divergence, _draw_sigmoids)
        # Classes lie on the axis that a cosine is taken along: a map of class scores has a softmax at every position.
        return _softmax_divergence(kind, dims)
    return _cosine_distance(kind, dims) if name == "cosine" else ClosedForm(_relative_squares, _draw_relative)


_OF_KIND: dict[OutputKind, DistanceName] = {
    "logits": "kl",
    "embedding": "cosine",
    "map": "mse",
    "tokens": "mse",
    "scores": "kl",
    "choices": "kl",
    "boxes": "mse",
    "values": "mse",
}

#: Kinds with a row a token or candidate.
_ROWS = ("tokens", "scores", "choices", "boxes")


def as_vectors(kind: OutputKind, dims: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
    """What has a direction in an output: the channels of a position, token or candidate, else all values of an image.

    Args:
        kind: of the output.
        dims: its sizes for one image, the batch axis first.
        x: [B, values].

    Returns:
        [B, vectors, channels].
    """
    if kind == "map":
        return x.reshape(len(x), dims[1], math.prod(dims[2:])).transpose(1, 2)
    return x.reshape(len(x), -1, dims[-1]) if kind in _ROWS else x.reshape(len(x), 1, -1)


def _flat(kind: OutputKind, dims: tuple[int, ...], vectors: torch.Tensor) -> torch.Tensor:
    """`as_vectors` backwards."""
    return (vectors.transpose(1, 2) if kind == "map" else vectors).reshape(len(vectors), math.prod(dims))


def _softmax_divergence(kind: OutputKind, dims: tuple[int, ...]) -> ClosedForm:
    """KL divergence of the softmax over the channels, in nats; the mean over all vectors of an output.

    Its Hessian is `diag(p) - p p^T`.
    """

    def distance(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        exact, found = (as_vectors(kind, dims, x).log_softmax(-1) for x in (exact, found))
        return (exact.exp() * (exact - found)).sum(-1).mean(1)

    def draw(exact: torch.Tensor, noise: torch.Tensor, count: int) -> torch.Tensor:
        probability, z = as_vectors(kind, dims, exact).softmax(-1), as_vectors(kind, dims, noise)
        scaled = (probability / (count * z.shape[1])).sqrt() * z
        return _flat(kind, dims, scaled - probability * scaled.sum(-1, keepdim=True))

    return ClosedForm(distance, draw)


def _draw_sigmoids(exact: torch.Tensor, noise: torch.Tensor, count: int) -> torch.Tensor:
    """The Hessian is `p (1 - p)` on the diagonal, by the number of scores."""
    return noise * (exact.sigmoid() * (-exact).sigmoid() / (count * exact.shape[1])).sqrt()


def _sigmoid_divergence(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL divergence of the sigmoids, in nats; the mean over all scores."""
    return bernoulli_divergence(exact, found).mean(1)


def bernoulli_divergence(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL divergence of the sigmoids of two tensors of logits, element by element, in nats."""
    logsigmoid = torch.nn.functional.logsigmoid
    yes = exact.sigmoid() * (logsigmoid(exact) - logsigmoid(found))
    return yes + (-exact).sigmoid() * (logsigmoid(-exact) - logsigmoid(-found))


def _cosine_distance(kind: OutputKind, dims: tuple[int, ...]) -> ClosedForm:
    """1 - cosine; the mean over all vectors of an output.

    Its Hessian at x is `(I - u u^T) / |x|^2` with u = x / |x|: what changes the length alone costs nothing.
    """

    def distance(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        exact, found = (_unit(as_vectors(kind, dims, x)) for x in (exact, found))
        return (exact - found).square().sum(-1).mean(1) / 2  # as 1 - u . v, but without its cancellation

    def draw(exact: torch.Tensor, noise: torch.Tensor, count: int) -> torch.Tensor:
        vectors, z = as_vectors(kind, dims, exact), as_vectors(kind, dims, noise)
        unit, lengths = _unit(vectors), _square(vectors).sqrt()
        across = z - unit * (unit * z).sum(-1, keepdim=True)
        return _flat(kind, dims, across / (lengths * math.sqrt(count * z.shape[1])))

    return ClosedForm(distance, draw)


def _relative_squares(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Squared error by the sum of squares: an output counts by its signal to noise ratio, whatever its size."""
    return (found - exact).square().sum(1) / _square(exact)[:, 0]


def _draw_relative(exact: torch.Tensor, noise: torch.Tensor, count: int) -> torch.Tensor:
    """The Hessian is `2 / |x|^2` on the diagonal."""
    return noise * (2 / (count * _square(exact))).sqrt()


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / _square(x).sqrt()


def _square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(-1, keepdim=True).clamp_min(_SMALLEST)
