"""Masked autoencoder: an encoder that learns what sounds are like from sounds alone.

    rows [B, T, F] -> patches [B, N, P] -> the visible ones [B, K, P] -> encoder [B, K, D]
                   -> with a mask token for each hidden one: decoder [B, N, d] -> the hidden patches [B, N - K, P]

A patch is a frame (`patch_rows` 1, all features) or a rectangle of log-mel. The encoder meets visible patches only,
each with the code of its true place; the loss is the squared error of hidden patches only. Attention does not care for
order, so nothing is shuffled back: the decoder has the visible patches first, and its last layer asks for hidden ones
alone. Each feature is brought to mean 0 and deviation 1 by what the training set has, which is kept with the weights.

Departures from He et al. (arXiv 2111.06377) and Huang et al. (AudioMAE, arXiv 2207.06405): no class token, and clips of
any length (a batch has one; `hear` takes several, and hides padding).

Letters: B clips, T feature rows, F features, N patches, K visible ones, P values of a patch, D width, d the decoder's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from auscult.models.linear import quicken
from auscult.models.transformer import Block, alive, codes


class MaeConfig(PreTrainedConfig):
    """Shape of the encoder and of the decoder that trains it."""

    model_type = "auscult_mae"

    def __init__(
        self,
        source: str = "frames",
        features: int = 128,
        patch_rows: int = 1,
        patch_features: int = 128,
        width: int = 512,
        layers: int = 6,
        heads: int = 8,
        decoder_width: int = 256,
        decoder_layers: int = 2,
        decoder_heads: int = 4,
        normalise: bool = False,
        rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        """`rate` is the feature rows of a second that it was pretrained on; None where that is not known."""
        if features % patch_features:
            raise ValueError(f"features is {features}: set a multiple of patch_features, {patch_features}")
        self.source = source
        self.features = features
        self.patch_rows = patch_rows
        self.patch_features = patch_features
        self.width = width
        self.layers = layers
        self.heads = heads
        self.decoder_width = decoder_width
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.normalise = normalise
        self.rate = rate
        super().__init__(**kwargs)

    @property
    def bands(self) -> int:
        """Patches at one moment."""
        return self.features // self.patch_features

    def columns(self, rows: int) -> int:
        """Moments of a clip of `rows` feature rows; the last one may be padded."""
        return -(-rows // self.patch_rows)


def near(rate: float, known: float | None) -> bool:
    """Whether rows come at the rate that an encoder knows, where it says: AudioSet's are told as 1 a second, and are
    0.96 s long."""
    return known is None or abs(rate / known - 1) < 0.1


def pick(values: Tensor, places: Tensor) -> Tensor:
    """Rows [B, K, P] of values [B, N, P] at places [B, K]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


class PatchEncoder(nn.Module):
    """Patches with their places -> what they mean to each other."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.patch_rows * config.patch_features, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, 0.0) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("deviation", torch.ones(config.features))

    def patches(self, rows: Tensor) -> Tensor:
        """Rows [B, T, F] -> patches [B, N, P], time-major; the last column is padded with the mean."""
        config = self.config
        rows = (rows - self.mean) / self.deviation
        rows = functional.pad(rows, (0, 0, 0, -rows.shape[1] % config.patch_rows))
        cut = rows.unflatten(2, (config.bands, -1)).unflatten(1, (-1, config.patch_rows))
        return cut.transpose(2, 3).flatten(3).flatten(1, 2)

    def forward(self, patches: Tensor, places: Tensor, columns: int, heard: Tensor | None = None) -> Tensor:
        """Patches [B, K, P] at places [B, K] of `columns` columns -> [B, K, D]; `heard` [B, K] is false at padding."""
        table = codes(columns, self.config.bands, self.config.width).to(patches)
        x = self.embed(patches) + table[places]
        mask = None if heard is None else heard[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def hear(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Whole clips, rows [B, T, F] right-padded with lengths [B] -> [B, N, D], and which of them are no padding."""
        rows = torch.where(alive(lengths, rows.shape[1])[..., None], rows, self.mean)  # as beyond the longest clip
        patches = self.patches(rows)
        count, bands = patches.shape[1], self.config.bands
        columns = torch.div(lengths + self.config.patch_rows - 1, self.config.patch_rows, rounding_mode="floor")
        heard = alive(columns * bands, count)
        places = torch.arange(count, device=rows.device).expand(len(rows), -1)
        return self(patches, places, count // bands, heard), heard


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the decoder made of hidden patches."""

    loss: Tensor
    """Mean squared error of hidden patches, of normalised targets where the config says so; a scalar."""
    predicted: Tensor
    """Hidden patches as predicted [B, M, P]."""
    target: Tensor
    """As they are [B, M, P]; with `normalise` as they are to be predicted."""
    seen: Tensor
    """Visible patches in the same terms [B, K, P]."""


class MaskedAutoencoder(PreTrainedModel):
    """Encoder and decoder; `save_pretrained` and `from_pretrained` work, and `encoder` is what is kept."""

    config_class = MaeConfig
    base_model_prefix = ""

    def __init__(self, config: MaeConfig) -> None:
        super().__init__(config)
        width, values = config.decoder_width, config.patch_rows * config.patch_features
        self.encoder = PatchEncoder(config)
        self.bridge = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.decoder = nn.ModuleList(Block(width, config.decoder_heads, 0.0) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, values)
        self.post_init()
        quicken(self)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, MaskedAutoencoder):
            nn.init.normal_(module.mask_token, std=0.02)

    def forward(self, rows: Tensor, order: Tensor, visible: int) -> Reconstruction:
        """Rows [B, T, F] and patch numbers [B, N] whose first `visible` are shown -> the others, reconstructed."""
        patches = self.encoder.patches(rows)
        columns = patches.shape[1] // self.config.bands
        seen, hidden = order[:, :visible], order[:, visible:]
        shown = pick(patches, seen)
        x = self.bridge(self.encoder(shown, seen, columns))
        table = codes(columns, self.config.bands, self.config.decoder_width).to(x)
        x = torch.cat([x + table[seen], self.mask_token + table[hidden]], dim=1)
        *blocks, last = self.decoder
        for block in blocks:
            x = block(x, None)
        predicted = self.head(self.norm(last(x, None, queries=hidden.shape[1])))
        target = self._target(pick(patches, hidden))
        return Reconstruction((predicted - target).square().mean(), predicted, target, self._target(shown))

    def _target(self, patches: Tensor) -> Tensor:
        """What is to be predicted of patches [B, M, P]."""
        if not self.config.normalise:
            return patches
        spread = (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        return (patches - patches.mean(-1, keepdim=True)) / spread


AutoConfig.register(MaeConfig.model_type, MaeConfig)
AutoModel.register(MaeConfig, MaskedAutoencoder)
