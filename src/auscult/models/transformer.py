"""What our own encoders are made of: a pre-norm Transformer layer, position codes, the mask of what is no padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def alive(lengths: Tensor, rows: int) -> Tensor:
    """Mask [C, rows], true where a row belongs to its clip and is not padding."""
    return torch.arange(rows, device=lengths.device) < lengths[:, None]


def positions(rows: int, width: int) -> Tensor:
    """Sinusoidal position codes [rows, width] (Vaswani et al. 2017, section 3.5; halves as in Whisper)."""
    frequencies = torch.exp(-torch.arange(width // 2) * (9.210340371976184 / (width // 2 - 1)))  # ln 10,000
    angles = torch.arange(rows)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def codes(columns: int, bands: int, width: int) -> Tensor:
    """Sinusoidal codes of places [columns * bands, width]; with several bands half of the width says which band."""
    if bands == 1:
        return positions(columns, width)
    moments = positions(columns, width // 2)[:, None].expand(-1, bands, -1)
    heights = positions(bands, width // 2)[None].expand(columns, -1, -1)
    return torch.cat([moments, heights], dim=-1).flatten(0, 1)


class Block(nn.Module):
    """A pre-norm Transformer encoder layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None, queries: int | None = None) -> Tensor:
        """x [C, N, D] and a mask [C, 1, 1, N] that is true where a key may be heard (None: everywhere) -> [C, N, D];
        with `queries` the last so many rows only."""
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if queries is not None:
            q, x = q[:, :, -queries:], x[:, -queries:]
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self._drop(self.out(heard.transpose(1, 2).flatten(2)))
        return x + self._drop(self.down(functional.gelu(self.up(self.norm_mlp(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
