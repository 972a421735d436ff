"""An orthogonal matrix whose elements are as alike as can be: it spreads what stands along any one of its columns."""

import math

import torch


def flat_basis(size: int) -> torch.Tensor:
    """A Hadamard matrix where one is known for the size, else one of cosines: float64 [size, size], orthogonal.

    The first column is constant. Elements are `+-size^-0.5` in a Hadamard matrix (Sylvester's doubling of 1 or of a
    matrix of Paley's first kind), and up to sqrt(2) times that beside cosines.
    """
    doublings = 0
    while size % 2 ** (doublings + 1) == 0:
        doublings += 1
    for power in range(doublings, -1, -1):
        core = _paley(size >> power)
        if core is not None:
            return _doubled(core, power)
    return _doubled(cosine_basis(size >> doublings).contiguous(), doublings)


def cosine_basis(size: int) -> torch.Tensor:
    """The cosine transform: orthogonal, float64 [size, size], and every row mixes all columns."""
    n = torch.arange(size, dtype=torch.float64)
    cosine = torch.cos(torch.pi / size * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    cosine[0] /= math.sqrt(2)
    return cosine.T


def _doubled(core: torch.Tensor, times: int) -> torch.Tensor:
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    for _ in range(times):
        core = torch.kron(pair, core)
    return core


def _paley(size: int) -> torch.Tensor | None:
    """Of 1, 2, or a prime q of 4 k + 3 and one more: `1 + S`, S from the squares modulo q; None for other sizes."""
    prime = size - 1
    if size <= 2:
        return _doubled(torch.ones(1, 1, dtype=torch.float64), size - 1)
    if prime % 4 != 3 or any(prime % n == 0 for n in range(2, math.isqrt(prime) + 1)):
        return None
    squares = torch.zeros(prime, dtype=torch.bool)
    squares[torch.arange(1, prime) ** 2 % prime] = True
    n = torch.arange(prime)
    difference = (n[:, None] - n) % prime
    character = torch.where(squares[difference], 1.0, -1.0).double()
    matrix = torch.ones(size, size, dtype=torch.float64)
    matrix[1:, 0] = -1
    matrix[1:, 1:] = character.fill_diagonal_(0) + torch.eye(prime, dtype=torch.float64)
    return matrix * matrix[:, :1] / math.sqrt(size)
