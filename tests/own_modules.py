"""Modules as users write them, which no library knows: what they give, what they must not do, and what makes them."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn

SIZE = (3, 32, 32)
WIDTH = 16
Pair = namedtuple("Pair", "scores tokens")


@dataclass
class Detected:
    """Four tensors, and one that is there in training only."""

    logits: torch.Tensor
    pred_boxes: torch.Tensor
    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    loss: torch.Tensor | None = None


class Block(nn.Module):
    """Attention and a GELU of two units."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Trunk(nn.Module):
    """What all modules here have: tokens of an image, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 8, 8)
        self.pos = nn.Parameter(torch.randn(1, 16, WIDTH) / 10)
        self.block, self.norm = Block(), nn.LayerNorm(WIDTH)
        self.head, self.box = nn.Linear(WIDTH, 5), nn.Linear(WIDTH, 4)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.block(self.patch(x).flatten(2).transpose(1, 2) + self.pos))


class Four(Trunk):
    """Four outputs in a dataclass."""

    def forward(self, x: torch.Tensor) -> Detected:
        tokens = self.tokens(x)
        pooled = tokens.mean(1)
        return Detected(self.head(pooled), self.box(tokens), tokens, pooled)


class Shaped(Trunk):
    """Gives whatever a function of tokens and scores says."""

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = [shape]  # no submodule, no setting

    def forward(self, x: torch.Tensor) -> Any:
        tokens = self.tokens(x)
        return self.shape[0](tokens, self.head(tokens.mean(1)))


class Scores(Trunk):
    """One tensor, which has no name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(x).mean(1))


class Twice(Trunk):
    """One tensor under two names, and the images themselves."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = self.tokens(x).mean(1)
        return {"embedding": pooled, "features": pooled, "image": x}


class Odd(Trunk):
    """Outputs of one axis and of five, a probability, a constant."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = self.tokens(x)
        scores = self.head(tokens.mean(1))
        return {
            "age": scores[:, 0],
            "cells": tokens.reshape(x.shape[0], 4, 4, 4, 4),
            "feature_map": tokens.transpose(1, 2).unflatten(2, (4, 4)),
            "masks": self.box(tokens).sigmoid(),
            "position": self.pos.expand(x.shape[0], -1, -1),
        }


class Masked(Trunk):
    def forward(self, x: torch.Tensor, mask: torch.Tensor, *, scale: float) -> torch.Tensor:
        return self.tokens(x) * mask * scale


class Lengths(Trunk):
    """Its head fixes the number of images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(x)
        return self.head(tokens.reshape(len(x), 16 * WIDTH)[:, :WIDTH])


class Item(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum().item() > 0 else x


class Branching(Trunk):
    """Asks what is in a tensor, in a module within."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(Item())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gate(self.tokens(x)).mean(1))


class Fourier(Trunk):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.fft.fft(self.tokens(x)).real.mean(1))


def made(kind: type[nn.Module], *arguments: Any) -> nn.Module:
    """A module with the same weights every time."""
    torch.manual_seed(0)
    return kind(*arguments).eval()


def four() -> nn.Module:
    """What `own_modules:four` on a command line makes."""
    return made(Four)


def scores() -> nn.Module:
    return made(Scores)


def broken() -> nn.Module:
    raise FileNotFoundError("weights.pt is not here")


def wanting(path: str) -> nn.Module:
    raise AssertionError(path)


SCORES = scores()
NUMBER = 3
