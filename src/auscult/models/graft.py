"""Graft: ears for any causal language model.

    log-mel [T, 80] or frames [T, F] -> Transformer encoder [N, D] -> projector [N, W] -> the LM's input embeddings

A clip of T feature rows becomes N = `tokens(T)` rows that stand where its `<audio>` placeholders stand in the prompt.
N depends on the clip's length only and the encoder masks padding at every layer, so what a clip sounds like does not
depend on its batch. An ordinary `PreTrainedModel`: `save_pretrained`, `from_pretrained`, `generate` and the auto
classes work.

Letters: B batch, C clips, T feature rows, F features, N audio tokens, D encoder width, L prompt tokens, W LM width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.gemma3 import Gemma3TextConfig

from auscult.core.errors import LostMediaError


class GraftConfig(PreTrainedConfig):
    """Shape of the ears, and the whole config of the language model they are grafted on."""

    model_type = "auscult_graft"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        features: int = 80,
        source: Literal["mel", "frames"] = "mel",
        encoder_width: int = 128,
        encoder_layers: int = 2,
        encoder_heads: int = 4,
        encoder_dropout: float = 0.0,
        pool: int = 4,
        max_seconds: float = 30.0,
        audio_token_id: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config if text_config is not None else Gemma3TextConfig()
        self.features = features
        self.source = source
        self.encoder_width = encoder_width
        self.encoder_layers = encoder_layers
        self.encoder_heads = encoder_heads
        self.encoder_dropout = encoder_dropout
        self.pool = pool
        self.max_seconds = max_seconds
        self.audio_token_id = audio_token_id
        kwargs.setdefault("tie_word_embeddings", False)  # the language model ties its own
        super().__init__(**kwargs)

    @property
    def stride(self) -> int:
        """Feature rows that one audio token stands for."""
        return self.pool * (2 if self.source == "mel" else 1)

    def tokens(self, rows: int) -> int:
        """Audio tokens N that a clip of `rows` feature rows becomes."""
        return -(-rows // self.stride)


def _alive(lengths: Tensor, rows: int) -> Tensor:
    """Mask [C, rows], true where a row belongs to its clip and is not padding."""
    return torch.arange(rows, device=lengths.device) < lengths[:, None]


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


class AudioEncoder(nn.Module):
    """Feature rows to audio tokens: a strided stem, stacking of `pool` rows, positions, Transformer layers."""

    def __init__(self, config: GraftConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.config = config
        if config.source == "mel":  # Whisper's stem: neighbouring 10 ms rows say nearly the same
            self.strides = (1, 2)
            self.stem = nn.ModuleList(
                [nn.Conv1d(config.features, width, 3, padding=1), nn.Conv1d(width, width, 3, stride=2, padding=1)]
            )
        else:
            self.strides = (1,)
            self.stem = nn.ModuleList([nn.Conv1d(config.features, width, 1)])
        self.stack = nn.Linear(width * config.pool, width)
        self.blocks = nn.ModuleList(
            Block(width, config.encoder_heads, config.encoder_dropout) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] right-padded, lengths [C] in rows -> tokens [C, N, D]; rows past a clip's N are junk."""
        x = (features * _alive(lengths, features.shape[1])[..., None]).transpose(1, 2)
        for conv, stride in zip(self.stem, self.strides, strict=True):
            x = functional.gelu(conv(x))
            lengths = -(-lengths // stride)
            x = x * _alive(lengths, x.shape[2])[:, None]  # a convolution would hear bias beyond the clip's end
        pool = self.config.pool
        x = functional.pad(x, (0, -x.shape[2] % pool)).transpose(1, 2)
        x = self.stack(x.unflatten(1, (-1, pool)).flatten(2))
        lengths = -(-lengths // pool)
        x = x + positions(x.shape[1], x.shape[2]).to(x)
        mask = _alive(lengths, x.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


def positions(rows: int, width: int) -> Tensor:
    """Sinusoidal position codes [rows, width] (Vaswani et al. 2017, section 3.5; halves as in Whisper)."""
    frequencies = torch.exp(-torch.arange(width // 2) * (9.210340371976184 / (width // 2 - 1)))  # ln 10,000
    angles = torch.arange(rows)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class GraftForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A causal language model that hears: `input_ids` hold `<audio>` placeholders, `features` what they stand for."""

    config_class = GraftConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block"]  # noqa: RUF012 - transformers reads a class attribute

    def __init__(self, config: GraftConfig, language_model: PreTrainedModel | None = None) -> None:
        """With `language_model` the ears are grafted on its weights; without, a random one is made from the config."""
        super().__init__(config)
        text = config.text_config
        self.encoder = AudioEncoder(config)
        self.projector = nn.Sequential(
            nn.Linear(config.encoder_width, text.hidden_size), nn.GELU(), nn.Linear(text.hidden_size, text.hidden_size)
        )
        self.language_model = language_model or AutoModelForCausalLM.from_config(text)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        return self.language_model.get_output_embeddings()

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] with lengths [C] -> what the encoder makes of all clips, one after another [sum N, D]."""
        encoded = self.encoder(features.to(self.encoder.stack.weight.dtype), lengths)
        counts = torch.div(lengths + self.config.stride - 1, self.config.stride, rounding_mode="floor")
        return encoded[_alive(counts, encoded.shape[1])]

    def hear(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] with lengths [C] -> the audio tokens of all clips, one after another [sum N, W]."""
        return self.projector(self.encode(features, lengths))

    def embed(self, input_ids: Tensor, heard: Tensor | None) -> Tensor:
        """Ids [B, L] and audio tokens [sum N, W] in the order of their placeholders -> embeddings [B, L, W]."""
        places = input_ids == self.config.audio_token_id
        rows = 0 if heard is None else len(heard)
        if rows != int(places.sum()):
            raise LostMediaError(
                f"{int(places.sum())} <audio> placeholders in the ids but {rows} audio tokens from the encoder; "
                "give every clip whose placeholders stand in the prompt, in their order"
            )
        # The placeholder's own embedding is never used; id 0 is in every vocabulary, the audio token may not be.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        if heard is None:
            return embeddings
        return embeddings.masked_scatter(places[..., None], heard.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor | None = None,
        features: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Ids [B, L], features [C, T, F], feature_lengths [C] -> logits [B, L, V]; with `labels` also the mean NLL."""
        if inputs_embeds is None:
            if input_ids is None or (features is None) != (feature_lengths is None):
                raise ValueError("give input_ids or inputs_embeds, and features together with feature_lengths")
            heard = None if features is None or feature_lengths is None else self.hear(features, feature_lengths)
            inputs_embeds = self.embed(input_ids, heard)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Clips are heard in the first pass only; afterwards they stand in the cache."""
        inputs = GenerationMixin.prepare_inputs_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            self, input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration:
            inputs["features"] = inputs["feature_lengths"] = None
        return inputs


AutoConfig.register(GraftConfig.model_type, GraftConfig)
AutoModel.register(GraftConfig, GraftForConditionalGeneration)
AutoModelForCausalLM.register(GraftConfig, GraftForConditionalGeneration)
