"""From what an encoder says of a clip to the tokens that a language model hears.

    mlp         a token for each moment of the encoder: its patches (bands) side by side, through two layers (LLaVA,
                arXiv 2304.08485). A clip of twice the length has twice the tokens.
    qformer     N learned queries; each layer lets them see each other, then the clip (BLIP-2, arXiv 2301.12597)
    perceiver   N learned latents; each layer lets them see the clip and each other at once (Flamingo's resampler,
                arXiv 2204.14198)

The last two give N tokens whatever the clip's length. They add the code of its place to all that they see of a clip and
never see another clip's padding. Departures: layers are pre-norm, as wide as the encoder, and start from nothing; the
Q-Former looks at the clip in every layer, BLIP-2's in every other.

All take clips one after another, as the encoder's cache keeps them. Letters: C clips, P patches of a clip, D encoder
width, N tokens, W width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auscult.models.transformer import alive, codes


class Mlp(nn.Sequential):
    """A token for each moment."""

    def __init__(self, width: int, bands: int, out: int) -> None:
        super().__init__(nn.Linear(width * bands, out), nn.GELU(), nn.Linear(out, out))
        self.bands = bands

    def forward(self, input: Tensor, counts: Sequence[int] = ()) -> Tensor:
        """What the encoder said [sum P, D], `bands` patches a moment -> tokens [sum P / bands, W]."""
        return super().forward(input.unflatten(0, (-1, self.bands)).flatten(1))


class Attention(nn.Module):
    """Queries look at keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [C, N, D], seen [C, P, D], mask [C, P] that is true at what may be seen (None: everywhere) -> [C, N, D]."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(seen).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shown = None if mask is None else mask[:, None, None]
        return self.out(functional.scaled_dot_product_attention(q, k, v, attn_mask=shown).transpose(1, 2).flatten(2))


class QueryLayer(nn.Module):
    """Queries see each other, then the clip; then each thinks for itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.among = Attention(width, heads)
        self.across = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, clip: Tensor, mask: Tensor) -> Tensor:
        """Queries [C, N, D], clips [C, P, D] with mask [C, P] -> [C, N, D]."""
        own, asked, seen, last = self.norms
        near = own(x)
        x = x + self.among(near, near)
        x = x + self.across(asked(x), seen(clip), mask)
        return x + self.mlp(last(x))


class LatentLayer(nn.Module):
    """Latents see the clip and each other at once; then each thinks for itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.across = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, clip: Tensor, mask: Tensor) -> Tensor:
        """Latents [C, N, D], clips [C, P, D] with mask [C, P] -> [C, N, D]."""
        own, seen, last = self.norms
        near = own(x)
        shown = torch.cat([mask, mask.new_ones(x.shape[:2])], dim=1)
        x = x + self.across(near, torch.cat([seen(clip), near], dim=1), shown)
        return x + self.mlp(last(x))


LAYERS: dict[str, type[QueryLayer] | type[LatentLayer]] = {"qformer": QueryLayer, "perceiver": LatentLayer}


class Resampler(nn.Module):
    """N tokens for a clip of any length."""

    def __init__(self, kind: str, width: int, bands: int, out: int, *, tokens: int, layers: int, heads: int) -> None:
        super().__init__()
        self.bands = bands
        self.queries = nn.Parameter(torch.randn(tokens, width) * 0.02)  # BLIP-2's and Flamingo's deviation
        self.layers = nn.ModuleList(LAYERS[kind](width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)

    def forward(self, encoded: Tensor, counts: Sequence[int]) -> Tensor:
        """What the encoder said of all clips [sum P, D], of each so many patches -> tokens [C * N, W]."""
        places = codes(max(counts) // self.bands, self.bands, encoded.shape[1]).to(encoded)
        placed = [clip + places[: len(clip)] for clip in encoded.split(list(counts))]
        clips = nn.utils.rnn.pad_sequence(placed, batch_first=True).to(self.queries.dtype)
        mask = alive(torch.tensor(counts, device=clips.device), clips.shape[1])
        x = self.queries.expand(len(counts), -1, -1)
        for layer in self.layers:
            x = layer(x, clips, mask)
        return self.out(self.norm(x)).flatten(0, 1)
