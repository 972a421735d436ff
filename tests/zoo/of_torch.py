"""What people write of torch's own transformer modules."""

from typing import Any

import torch
from torch import nn

from zoo.common import CLASSES, Make


class OwnEncoder(nn.Module):
    """A patch embedding, torch's encoder, and a head, as people write it.

    Args:
        batch_first: whether tokens are [B, L, D].
        norm_first: norms before attention and MLP.
        activation: of the MLP.
        mask: `causal`, `boolean`, `padding` or none, all constants.
        rows: tokens stay as rows of a sequence of their own, without a class token.
    """

    def __init__(
        self, *, batch_first: bool, norm_first: bool, activation: str = "gelu", mask: str = "", final: bool = False
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 32)), nn.Parameter(torch.zeros(1, 17, 32))
        layer = nn.TransformerEncoderLayer(
            32, 2, 64, activation=activation, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32) if final else None)
        self.head, self.batch_first, self.mask = nn.Linear(32, CLASSES), batch_first, mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        mask = padding = None
        if self.mask == "causal":
            mask = nn.Transformer.generate_square_subsequent_mask(17)
        elif self.mask == "boolean":
            mask = torch.ones(17, 17, dtype=torch.bool).triu(5)
        elif self.mask == "padding":
            padding = (torch.arange(17) > 12).expand(x.shape[0], 17)
        if self.batch_first:
            x = self.encoder(x, mask, padding)
        else:
            x = self.encoder(x.transpose(0, 1), mask, padding).transpose(0, 1)
        return self.head(x[:, 0] if self.mask != "causal" else x[:, -1])


class OwnAttention(nn.Module):
    """One `nn.MultiheadAttention` over patches."""

    def __init__(self, *, batch_first: bool, need_weights: bool, mask: bool = False, **kwargs: Any) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=batch_first, **kwargs)
        self.head, self.batch_first, self.need_weights = nn.Linear(32, CLASSES), batch_first, need_weights
        self.masked = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.patch(x).flatten(2).transpose(1, 2))
        y = x if self.batch_first else x.transpose(0, 1)
        mask = torch.full((16, 16), float("-inf")).triu(1) if self.masked else None
        y = self.attention(y, y, y, need_weights=self.need_weights, attn_mask=mask)[0]
        return self.head((x + (y if self.batch_first else y.transpose(0, 1))).mean(1))


def models() -> dict[str, tuple[int, Make]]:
    def encoder(**kwargs: Any) -> tuple[int, Make]:
        return 32, lambda: OwnEncoder(**kwargs)

    def attention(**kwargs: Any) -> tuple[int, Make]:
        return 32, lambda: OwnAttention(**kwargs)

    table = {
        f"encoder {'batch' if batch else 'tokens'} first, norm {'first' if norm else 'last'}, {function}": encoder(
            batch_first=batch, norm_first=norm, activation=function
        )
        for batch in (True, False)
        for norm in (True, False)
        for function in ("relu", "gelu")
    }
    table |= {
        f"encoder {mask} mask, {'batch' if batch else 'tokens'} first": encoder(
            batch_first=batch, norm_first=True, mask=mask, final=True
        )
        for mask in ("causal", "boolean", "padding")
        for batch in (True, False)
    }
    table |= {
        f"attention {'batch' if batch else 'tokens'} first{', weights' if weights else ''}": attention(
            batch_first=batch, need_weights=weights
        )
        for batch in (True, False)
        for weights in (True, False)
    }
    table["attention masked"] = attention(batch_first=True, need_weights=False, mask=True)
    table["attention masked, weights"] = attention(batch_first=False, need_weights=True, mask=True)
    table["attention with bias_kv"] = attention(batch_first=True, need_weights=False, add_bias_kv=True)
    table["attention with zero_attn"] = attention(batch_first=True, need_weights=False, add_zero_attn=True)
    return table
