"""Models of torch alone, around `nn.TransformerEncoder` and `nn.MultiheadAttention`, as people write them."""

from typing import Any

import torch
from torch import Tensor, nn

SIDE = 32


class Encoder(nn.Module):
    """Patches, torch's encoder, the mean of the tokens or a class token, a linear classifier."""

    def __init__(
        self, *, batch_first: bool = True, class_token: bool = False, final_norm: bool = True, **layer: Any
    ) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 32) * 0.2) if class_token else None
        self.position = nn.Parameter(torch.randn(1, 16 + class_token, 32) * 0.2)
        one = nn.TransformerEncoderLayer(32, 2, 64, batch_first=batch_first, **layer)
        norm = nn.LayerNorm(32) if final_norm else None
        self.encoder = nn.TransformerEncoder(one, 2, norm, enable_nested_tensor=False)
        self.head = nn.Linear(32, 7)

    def tokens(self, x: Tensor) -> Tensor:
        """The tokens after the encoder, batch first."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = tokens + self.position
        if self.batch_first:
            return self.encoded(tokens)
        return self.encoded(tokens.transpose(0, 1)).transpose(0, 1)

    def encoded(self, tokens: Tensor) -> Tensor:
        """What the encoder makes of tokens in its own layout."""
        found: Tensor = self.encoder(tokens)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Scores of seven classes."""
        tokens = self.tokens(x)
        pooled = tokens.mean(1) if self.token is None else tokens[:, 0]
        logits: Tensor = self.head(pooled)
        return logits


class Causal(Encoder):
    """Every token sees those before it."""

    def encoded(self, tokens: Tensor) -> Tensor:
        """With a constant mask."""
        mask = nn.Transformer.generate_square_subsequent_mask(16)
        found: Tensor = self.encoder(tokens, mask=mask)
        return found


class Padded(Encoder):
    """The last four tokens are padding, in every image."""

    def encoded(self, tokens: Tensor) -> Tensor:
        """With the same mask for all images."""
        padding = (torch.arange(16) >= 12).expand(tokens.shape[0], 16)
        found: Tensor = self.encoder(tokens, src_key_padding_mask=padding)
        return found


class Attention(nn.Module):
    """`nn.MultiheadAttention` by itself, in one of its layouts."""

    def __init__(self, *, batch_first: bool, pooling: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.norm, self.batch_first = nn.LayerNorm(32), batch_first
        self.attention = nn.MultiheadAttention(32, 2, batch_first=batch_first)
        self.query = nn.Parameter(torch.randn(1, 1, 32)) if pooling else None
        self.head = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of seven classes."""
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        query = tokens if self.query is None else self.query.expand(x.shape[0], -1, -1)
        if not self.batch_first:
            tokens, query = tokens.transpose(0, 1), query.transpose(0, 1)
        found = self.attention(query, tokens, tokens, need_weights=False)[0]
        logits: Tensor = self.head(found.mean(1 if self.batch_first else 0))
        return logits


MODELS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "TransformerEncoder, norm last, ReLU": (Encoder, {}),
    "TransformerEncoder, norm first, GELU": (Encoder, {"norm_first": True, "activation": "gelu"}),
    "TransformerEncoder, batch second": (Encoder, {"batch_first": False, "norm_first": True}),
    "TransformerEncoder, class token": (Encoder, {"class_token": True, "norm_first": True, "activation": "gelu"}),
    "TransformerEncoder, batch second, class token": (Encoder, {"batch_first": False, "class_token": True}),
    "TransformerEncoder, without biases": (Encoder, {"bias": False, "norm_first": True}),
    "TransformerEncoder, no last norm": (Encoder, {"final_norm": False}),
    "TransformerEncoder, causal mask": (Causal, {"norm_first": True, "activation": "gelu"}),
    "TransformerEncoder, padding mask": (Padded, {"norm_first": True, "activation": "gelu"}),
    "MultiheadAttention, batch first": (Attention, {"batch_first": True}),
    "MultiheadAttention, batch second": (Attention, {"batch_first": False}),
    "MultiheadAttention, pooling query": (Attention, {"batch_first": True, "pooling": True}),
}


def build(name: str) -> nn.Module:
    """A model, with the random weights that torch gives it."""
    kind, arguments = MODELS[name]
    return kind(**arguments).eval().requires_grad_(False)
