"""Models whose images are not the slowest axis, and models that mix them."""

import torch
from torch import nn

SIZE = (3, 32, 32)


class Block(nn.Module):
    """A block of older CLIP code: torch's own attention, tokens first where `batch_first` is false."""

    def __init__(self, width: int, *, batch_first: bool, need_weights: bool = False) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=batch_first)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.need_weights = need_weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=self.need_weights)[0]
        return x + self.mlp(self.ln_2(x))


class Tower(nn.Module):
    """The image tower of such code.

    Args:
        batch_first: how the blocks are built.
        tokens_first: whether tokens are the first axis inside; where this is `batch_first`, images are mixed.
        token: whether there is a class token; 17 rows an image, else 16.
    """

    def __init__(
        self, *, batch_first: bool, tokens_first: bool, token: bool = True, need_weights: bool = False
    ) -> None:
        super().__init__()
        width = 32
        self.conv1 = nn.Conv2d(3, width, 8, 8, bias=False)
        self.token = nn.Parameter(0.2 * torch.randn(width)) if token else None
        self.position = nn.Parameter(0.2 * torch.randn(16 + token, width))
        made = (Block(width, batch_first=batch_first, need_weights=need_weights) for _ in range(2))
        self.blocks = nn.Sequential(*made)
        self.ln_post = nn.LayerNorm(width)
        self.head = nn.Linear(width, 7)
        self.tokens_first = tokens_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1)
        x = x + self.position
        x = self.blocks(x.permute(1, 0, 2)).permute(1, 0, 2) if self.tokens_first else self.blocks(x)
        return self.head(self.ln_post(x[:, 0] if self.token is not None else x.mean(1)))


class RowsOfTokens(nn.Module):
    """One attention whose rows are [L * B, D]: images are the faster digit of an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32)
        self.qkv, self.proj, self.head = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm(x).transpose(0, 1)
        length, batch, width = y.shape
        q, k, v = self.qkv(y).reshape(length, batch, 3, 2, 16).permute(2, 1, 3, 0, 4).unbind(0)
        y = (q @ k.transpose(-1, -2) / 4).softmax(-1) @ v
        y = self.proj(y.permute(2, 0, 1, 3).reshape(length * batch, width)).reshape(length, batch, width)
        return self.head((x + y.transpose(0, 1)).mean(1))


class Flawed(nn.Module):
    """A patch embedding, something that looks at other images, and a head.

    Args:
        kind: what `mix` does.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.patch, self.mix, self.head = nn.Conv2d(3, 16, 8, 8), Mixing(kind), nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.mix(x).mean(1))


class Mixing(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.run, self.inner = MIXING[kind], nn.Linear(16, 16)
        self.norm = nn.BatchNorm1d(16, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def _attention_over_images(m: Mixing, x: torch.Tensor) -> torch.Tensor:
    y = m.inner(x).transpose(0, 1)
    return x + ((y @ y.transpose(1, 2)).softmax(-1) @ y).transpose(0, 1)


def _order(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[0], dtype=x.dtype).reshape(-1, 1, 1)


#: What a model may do with the images beside one: x is [B, 16, 16].
MIXING = {
    "attention over images": _attention_over_images,
    "tokens taken for images": lambda m, x: m.inner(x.transpose(0, 1).reshape(x.shape[0], 16, 16)) + x,
    "shifted images": lambda m, x: m.inner(x).roll(1, 0) + x,
    "reversed images": lambda m, x: m.inner(x).flip(0) + x,
    "batch norm of the batch": lambda m, x: m.norm(m.inner(x).transpose(1, 2)).transpose(1, 2),
    "mean of the batch": lambda m, x: x - m.inner(x).mean(0),
    "softmax over the batch": lambda m, x: x * m.inner(x).softmax(0),
    "largest of the batch": lambda m, x: x - m.inner(x).amax((0,)),
    "first image": lambda m, x: x - m.inner(x[:1]),
    "number of the image": lambda m, x: m.inner(x) + _order(x),
    "products of images": lambda m, x: x + (x.flatten(1) @ x.flatten(1).T).mean(1).reshape(-1, 1, 1),
    "images side by side": lambda m, x: m.inner(torch.cat([x, x], 0))[: x.shape[0]],
    "how many there are": lambda m, x: m.inner(x) * x.shape[0],
    "one image is another case": lambda m, x: m.inner(x) if x.shape[0] > 1 else x,
}
